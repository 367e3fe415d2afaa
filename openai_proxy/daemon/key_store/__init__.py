"""The store of client keys made at run time: kept in SQLite or Redis, known to this process, changed.

The stores keep bytes by name and know nothing of what they mean.
"""
