"""The log of `openai-proxy run`, line by line."""

import io

import pytest
from twisted.logger import LogLevel

from openai_proxy.command.plain_log import PlainLog


def said(**event):
    """Return what the log writes of an event at a fixed time."""
    output = io.StringIO()
    PlainLog(output)({"log_time": 0.5, "log_namespace": "openai_proxy", "log_format": "{text}", **event})
    return output.getvalue()


@pytest.mark.parametrize(
    ("level", "text", "line"),
    [
        (LogLevel.info, "ready", "1970-01-01T00:00:00.500Z ready\n"),
        (LogLevel.debug, "x", "1970-01-01T00:00:00.500Z debug: x\n"),
        (LogLevel.warn, "x", "1970-01-01T00:00:00.500Z warning: x\n"),
        (LogLevel.warn, "warning: x", "1970-01-01T00:00:00.500Z warning: x\n"),
        (LogLevel.error, "x", "1970-01-01T00:00:00.500Z error: x\n"),
        (LogLevel.critical, "x", "1970-01-01T00:00:00.500Z error: x\n"),
    ],
)
def test_a_line_has_a_time_a_level_if_not_info_and_the_message(level, text, line):
    """Nothing of namespaces, and no level twice."""
    assert said(log_level=level, text=text) == line


@pytest.mark.parametrize("namespace", ["twisted.scripts._twistd_unix.UnixAppLogger", "log_legacy"])
def test_twisteds_own_small_talk_is_left_out(namespace):
    """Which reactor class started is nothing that a user asked for; what goes wrong in it is."""
    assert said(log_level=LogLevel.info, log_namespace=namespace, text="starting up") == ""
    assert "broken" in said(log_level=LogLevel.error, log_namespace=namespace, text="broken")


def test_a_reader_that_left_costs_the_line_only():
    """The daemon goes on when its terminal is gone."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    PlainLog(Closed())({"log_time": 0.0, "log_level": LogLevel.info, "log_format": "x"})
