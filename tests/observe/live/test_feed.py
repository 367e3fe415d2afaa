"""Those who read the live view's events."""

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from openai_proxy.exchange.errors import Overloaded
from openai_proxy.observe.live.feed import COMMENT, MOST_READERS, MOST_WAITING, LiveFeed
from openai_proxy.observe.live.table import Changes


class Sink:
    def __init__(self):
        self.data = b""
        self.finished = False

    def write(self, data):
        self.data += data

    def finish(self):
        self.finished = True

    def take(self):
        """Return the names of the events that came since the last call."""
        data, self.data = self.data, b""
        return [block.split(b"\n")[0].removeprefix(b"event: ").decode() for block in data.split(b"\n\n")[:-1]]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def feed(clock):
    return LiveFeed(clock, lambda: succeed({"exchanges": []}), lambda wanted: None)


def changes(count=1):
    return Changes(ended=[{"id": str(n)} for n in range(count)])


def test_a_reader_begins_with_a_snapshot_and_is_told_the_rest(feed, clock):
    """And a comment each quarter of a minute, so that nobody in between takes it for dead."""
    sink = Sink()
    feed.open(sink)
    feed.push(changes())
    feed.push_stats({})
    assert sink.take() == ["snapshot", "ended", "stats"]
    clock.advance(15)
    assert sink.data == COMMENT


def test_a_slow_reader_gets_a_snapshot_in_place_of_what_it_missed(feed):
    """It waits for little, and never for more than a thousand."""
    sink = Sink()
    reader = feed.open(sink)
    sink.take()
    reader.pauseProducing()
    feed.push(changes(2))
    assert sink.take() == []
    reader.resumeProducing()
    assert sink.take() == ["ended", "ended"]
    reader.pauseProducing()
    feed.push(changes(MOST_WAITING))
    feed.push(changes())
    reader.resumeProducing()
    assert sink.take() == ["snapshot"]
    feed.push(changes())
    assert sink.take() == ["ended"]


def test_a_snapshot_that_comes_late_is_asked_for_again(clock):
    """What it shows would be old when the reader takes it."""
    asked = []

    def ask():
        asked.append(Deferred())
        return asked[-1]

    feed, sink = LiveFeed(clock, ask, lambda wanted: None), Sink()
    reader = feed.open(sink)
    reader.pauseProducing()
    asked[0].callback({})
    assert sink.take() == []
    reader.resumeProducing()
    asked[1].callback({})
    assert sink.take() == ["snapshot"]
    feed.close(reader)


def test_readers_are_few_and_counted(clock):
    """The first and the last change what is worked out."""
    wanted = []
    feed = LiveFeed(clock, lambda: succeed({}), wanted.append)
    readers = [feed.open(Sink()) for _ in range(MOST_READERS)]
    with pytest.raises(Overloaded):
        feed.check_room()
    for reader in readers * 2:
        feed.close(reader)
    assert wanted == [True, False]
    assert clock.getDelayedCalls() == []


def test_all_are_sent_away_at_the_end(feed):
    """So that a drain need not wait for them."""
    sink = Sink()
    feed.open(sink)
    feed.finish()
    assert sink.finished
    assert len(feed) == 0
