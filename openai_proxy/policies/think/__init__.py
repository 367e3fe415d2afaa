"""Remove the thoughts of models from answers."""
