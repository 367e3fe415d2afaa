"""An endurance run: every kind of client and of fault at once, for minutes or hours; see `__main__`."""
