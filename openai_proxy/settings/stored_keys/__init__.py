"""Client keys created at run time, as settings: a further source of `[[keys]]`.

Defines a record, its changes, and its meaning under a configuration.
`daemon/key_store` stores records and decides who may change them.
"""
