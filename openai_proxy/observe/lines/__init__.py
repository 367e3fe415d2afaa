"""Observers that write a line for each exchange."""
