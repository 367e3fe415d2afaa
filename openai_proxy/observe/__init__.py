"""Watchers of the exchange event: they see everything and change nothing."""
