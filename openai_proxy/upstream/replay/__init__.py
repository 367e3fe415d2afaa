"""Recorded answers as an upstream, `replay:DIR`: no key, no network, the same each time.

`forward` is its Forward, `cassette` the index over the files that the
exchange log wrote. `match`, `recorded` and `faults` are pure.
"""
