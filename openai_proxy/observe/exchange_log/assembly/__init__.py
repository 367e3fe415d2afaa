"""Puts the events of a stream together as a plain call would have answered."""
