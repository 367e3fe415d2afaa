"""Made-up messages through both edges, against two independent readings of them.

`python -m fuzz --minutes 60` (in `tests/`) runs for an hour; `test_fuzz.py`
runs a few thousand, from seeds that do not change.
"""
