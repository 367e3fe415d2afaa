"""Client keys made at run time, as settings: a further source of `[[keys]]`.

What a record is, how it changes, what it means under a configuration. Where
records are kept, and who may change them, is `daemon/key_store`.
"""
