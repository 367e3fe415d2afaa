"""Thoughts of models, taken out of answers."""
