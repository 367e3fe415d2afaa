"""The store of client keys created at run time: in SQLite or Redis, loaded into this process, changed by
operators.

The stores keep bytes by name and do not know their meaning.
"""
