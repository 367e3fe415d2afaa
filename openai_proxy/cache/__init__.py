"""Where answers are kept, and how one call serves several clients.

Stores, shared bodies and single flight. Imports messages and core; used by
the cache stage and the composition root.
"""
