"""Peers and parts in memory for unit tests: nothing here waits, and nothing but SocketPair opens anything.

What serves one room only stands in the folder of its tests.
"""

from fakes.bodies import (
    DONE,
    Body,
    Reader,
    ReadyBody,
    Sink,
    Source,
    TunnelEnd,
    Whole,
    delivered,
    incoming,
    read,
)
from fakes.downstream import ANYBODY, LOCAL, Connection, Downstream, error_of, parts
from fakes.exchanges import (
    JSON,
    UPGRADE,
    Forward,
    HeldForward,
    Recorder,
    Uploads,
    chat_chunk,
    exchange,
    refusal,
    response,
)
from fakes.reactors import SteppedReactor
from fakes.results import outcome_of, result_of, results_of, through
from fakes.transports import Resolver, SocketPair, Transport

__all__ = [
    "ANYBODY",
    "DONE",
    "JSON",
    "LOCAL",
    "UPGRADE",
    "Body",
    "Connection",
    "Downstream",
    "Forward",
    "HeldForward",
    "Reader",
    "ReadyBody",
    "Recorder",
    "Resolver",
    "Sink",
    "SocketPair",
    "Source",
    "SteppedReactor",
    "Transport",
    "TunnelEnd",
    "Uploads",
    "Whole",
    "chat_chunk",
    "delivered",
    "error_of",
    "exchange",
    "incoming",
    "outcome_of",
    "parts",
    "read",
    "refusal",
    "response",
    "result_of",
    "results_of",
    "through",
]
