"""The mock upstream, `mock:`: deterministic answers without a key or a network.

`forward` is its Forward, `answers` the table of endpoints. All others are
pure: from a decoded request to a `Reply`. `wire.mock_url` reads its URL.
"""
