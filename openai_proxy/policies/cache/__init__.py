"""Answers that are kept, and calls that several clients share."""
