"""The mock upstream, `mock:`: deterministic answers without a key or a network.

`forward` is its Forward, `parameters` its URL, `answers` the table of
endpoints. All others are pure: from a decoded request to a `Reply`.
"""
