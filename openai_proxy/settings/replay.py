"""The table `[replay]`: how recorded answers are replayed.

Values only; `model` puts them together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..wire.fault_kinds import parse_fault
from .fields import Allowed, Section, setting
from .urls import BaseURL, is_serverless
from .values import LowerCase, Text, Words

MOST_PACE = 1000.0


def _server(value: str) -> str:
    if is_serverless(value):
        raise ValueError("is no server")
    return value


def _timing(value: Any) -> Any:
    text = str(value).strip().lower() if isinstance(value, str) else value
    words = {"fast": 0.0, "real": 1.0}
    return words.get(text, text) if isinstance(text, str) else text


def _kind(value: str) -> str:
    parse_fault(value)
    return value


Timing = Annotated[
    float,
    BeforeValidator(_timing),
    Field(ge=0, le=MOST_PACE, allow_inf_nan=False),
    Allowed("'fast', 'real' or a factor from 0 to 1000 on the recorded times"),
]


class FaultEntry(Section):
    """Faults to inject."""

    match: Text = setting("*", "the endpoint, such as `chat/completions`, or a glob", toml_only=True)
    model: Text = setting("*", "the model's name, or a glob", toml_only=True)
    rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Allowed("a number from 0 to 1")] = setting(
        1.0, "the share of the requests", toml_only=True
    )
    kind: Annotated[
        str,
        AfterValidator(_kind),
        Allowed("'status:CODE', 'disconnect_after:EVENTS', 'stall_s:SECONDS' or 'slow:FACTOR'"),
    ] = setting(
        ...,
        "what goes wrong; events are counted from the head, a stall comes after it, slow is a factor on the recorded"
        " times",
        toml_only=True,
    )
    seed: Annotated[int, Field(ge=0, le=2**53), Allowed("a whole number")] = setting(
        0, "the same seed selects the same requests in every run", toml_only=True
    )


class Replay(Section):
    """How recorded answers are replayed, if an upstream is `replay:DIR`."""

    ignore: Annotated[tuple[Text, ...], Words, Allowed("names of members of the JSON body")] = setting(
        ("user", "metadata", "safety_identifier", "prompt_cache_key", "stream_options"),
        "members of the JSON body that are not compared when a request is looked up",
    )
    repeat: Annotated[Literal["last", "cycle", "error"], LowerCase, Allowed("'last', 'cycle' or 'error'")] = (
        setting(
            "last",
            "what follows when all answers that were recorded for one request have been given:"
            " the last one again, all of them again, or an error",
        )
    )
    timing: Timing = setting(
        0.0, "'fast', 'real' (as recorded) or a factor on the recorded times", default_text="fast"
    )
    miss: Annotated[Literal["error", "live", "record"], LowerCase, Allowed("'error', 'live' or 'record'")] = (
        setting(
            "error",
            "a request that was not recorded: 404, or on to `replay.live_url`; `record` also adds the answer to the"
            " directory",
        )
    )
    live_url: Annotated[BaseURL, AfterValidator(_server)] | None = setting(
        None, "the API for requests that were not recorded", default_text="none"
    )
    faults: tuple[FaultEntry, ...] = setting((), "what goes wrong on purpose", toml_only=True)
