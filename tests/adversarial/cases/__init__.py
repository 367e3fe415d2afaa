"""The worst inputs of each function that takes bytes from outside, a file for each kind of input.

`CASES` has, by `module:name`, functions of a size: each returns what runs
the function of the counted package on an input of about that many bytes.
"""

from adversarial.cases import (
    first_events,
    forms,
    heads,
    json_names,
    json_values,
    mock_upstream,
    replay,
    streams,
    thoughts,
    websockets,
    written,
)
from adversarial.cases.registry import CASES

__all__ = [
    "CASES",
    "first_events",
    "forms",
    "heads",
    "json_names",
    "json_values",
    "mock_upstream",
    "replay",
    "streams",
    "thoughts",
    "websockets",
    "written",
]
