"""The metrics page, and what is counted for it."""
