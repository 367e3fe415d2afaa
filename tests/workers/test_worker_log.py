"""A worker's log lines reach the supervisor's log."""

import threading

import pytest
from logged import log_events
from twisted.logger import Logger, LogLevel
from workers.links import pair

from openai_proxy.workers.worker_log import MAX_WAITING, LogLine, LogSender, write


@pytest.fixture
def lines():
    return []


class OtherThreads:
    """What other threads ask the reactor to do."""

    def __init__(self):
        self.asked = []

    def callFromThread(self, function, *arguments):
        self.asked.append((function, arguments))


@pytest.fixture
def threads():
    return OtherThreads()


@pytest.fixture
def sender(lines, threads):
    speaker, _ = pair(on_message={"log": lines.append})
    return LogSender(speaker, threads)


def test_an_event_becomes_a_line_with_its_traceback(sender, lines):
    """Nothing is formatted twice, nothing is lost on the way."""
    log = Logger("somewhere", observer=sender)
    log.warn("{what} happened", what="something")
    try:
        raise ValueError("broken")
    except ValueError:
        log.failure("it failed")
    assert (lines[0].text, lines[0].level, lines[0].namespace) == ("something happened", "warn", "somewhere")
    assert lines[0].time > 0
    assert lines[1].level == "critical"
    assert "it failed" in lines[1].text
    assert "ValueError: broken" in lines[1].text


def test_an_event_of_another_thread_waits_for_the_reactor(sender, lines, threads):
    """The exporters' threads log too; only the reactor's own may write to the link."""
    log = Logger("somewhere", observer=sender)
    thread = threading.Thread(target=log.warn, args=("from afar",))
    thread.start()
    thread.join()
    assert lines == []
    ((function, arguments),) = threads.asked
    function(*arguments)
    assert [line.text for line in lines] == ["from afar"]


def test_a_supervisor_that_does_not_read_costs_lines_not_memory(sender, lines):
    """Some wait, the rest is counted, and the count is logged."""
    log = Logger("somewhere", observer=sender)
    sender.pauseProducing()
    for number in range(MAX_WAITING + 5):
        log.info("{number}", number=number)
    assert lines == []
    sender.resumeProducing()
    assert [line.text for line in lines[:2]] == ["0", "1"]
    assert len(lines) == MAX_WAITING + 1
    assert lines[-1].text == "5 lines of the log were lost"
    assert lines[-1].time >= lines[0].time


def test_what_waits_at_the_end_is_sent_before_the_link_closes(sender, lines):
    """The lines of a worker's last second are those that say how it ended."""
    log = Logger("somewhere", observer=sender)
    sender.pauseProducing()
    log.info("last words")
    sender.finish()
    log.info("and the very last")
    assert [line.text for line in lines] == ["last words", "and the very last"]


def test_a_line_is_logged_with_its_own_time_and_the_worker_it_came_from():
    """So that the one log is in order and says who."""
    with log_events() as events:
        write(LogLine(12.5, "warn", "somewhere", "{not a field}"), 3)
    (event,) = events
    assert (event["log_time"], event["log_level"], event["text"]) == (12.5, LogLevel.warn, "{not a field}")
    assert event["log_system"] == "somewhere#warn, worker 3"
