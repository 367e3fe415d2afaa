"""The stage that lets calls go on, between clients and an upstream that are led by hand."""

from fakes import HeldForward, Reader, exchange
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.cache.recording_memory import RecordingMemory
from openai_proxy.policies.rejoin.rejoin import Rejoin

RETRY = (b"x-stainless-retry-count", b"1")
FIRST = (b"x-stainless-retry-count", b"0")


class Client:
    """One exchange through the stage; `leave` is what the edge does when its client leaves."""

    def __init__(self, rejoining, *headers, body=b'{"model":"m"}', key="alice"):
        self.rejoining, self.exchange, self.stopped = rejoining, exchange(), False
        self.exchange.credential_id = key
        request = ProxyRequest(b"POST", b"/responses", [*headers], body, self.exchange, credential=b"sk")
        self.response = self.error = self.reader = self.ended_whole = None
        self.waiting = Deferred.fromCoroutine(rejoining.stage(request, rejoining.forward))
        self.waiting.addCallbacks(self._came, self._failed)

    def _came(self, response):
        self.response, self.reader = response, Reader()
        client = self

        def over(reason):
            client.ended_whole = reason.check(ResponseDone) is not None
            client.exchange.end(Outcome.COMPLETE if client.ended_whole else Outcome.UPSTREAM_TRUNCATED, 1.0)

        self.reader.connectionLost = over
        response.body.deliverBody(self.reader)

    def _failed(self, failure):
        self.error = failure.value

    def leave(self):
        """Return whether the call goes on."""
        finish = self.exchange.finish_alone
        if finish is None:
            self._stop()
            return False
        self.exchange.is_alone = True
        assert finish(self._stop) == self.rejoining.limit_bytes
        return True

    def _stop(self):
        self.stopped, self.exchange.is_alone = True, False
        if self.response is not None:
            self.response.body.discard()
        else:
            self.waiting.cancel()
        self.exchange.end(Outcome.CLIENT_GONE, 1.0)

    @property
    def outcome(self):
        return self.exchange.outcome and self.exchange.outcome.value


class Rejoining:
    """The stage over an upstream whose calls wait for the test."""

    def __init__(self, limit_bytes=1000, others=None, buffered=None):
        self.clock, self.limit_bytes, self.others = Clock(), limit_bytes, others
        self.stage = Rejoin(
            lambda request: True,
            60.0,
            limit_bytes,
            self.clock,
            others,
            buffered and RecordingMemory(buffered),
        )
        self.forward = HeldForward()
        self.calls = self.forward.calls

    def answer(self, call=-1, status=200):
        return self.forward.answer(call, status=status)


def end_of(rejoining, data):
    body = rejoining.answer()
    body.feed(data)
    body.end()
