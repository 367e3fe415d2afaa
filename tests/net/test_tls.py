"""Our TLS transport against a second implementation, pyOpenSSL, at the other end; all in memory.

Whatever way the bytes are cut and in whatever order either side writes,
pauses, resumes and says that it has said all, each gets what the other sent.
"""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from net.tls_pair import SIDES, VERSIONS, TLSPair
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from openai_proxy.net.tls_failures import is_tls_failure, openssl_words
from openai_proxy.net.tls_wrappers import TLSFactory

LETTERS = bytes(number % 251 for number in range(40000))
SIZES = st.one_of(st.integers(0, 40), st.sampled_from([16383, 16384, 16385, 40000]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("we write"), SIZES),
        st.tuples(st.just("they write"), SIZES),
        st.tuples(st.just("arrive"), st.one_of(st.integers(1, 60), st.sampled_from([16000, 1 << 17]))),
        st.tuples(st.just("late"), SIZES),
        st.tuples(st.sampled_from(["pause", "resume", "turn", "pump", "pause inside"]), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(
    st.booleans(),
    st.sampled_from(list(VERSIONS)),
    STEPS,
    st.sampled_from(["reading", "paused", "pausing"]),
    st.sampled_from(["they", "we", "half", "cut"]),
)
def test_each_side_gets_what_the_other_sent(we_serve, version, steps, last, ends):
    """Records of any size in any pieces, pauses at any moment; nothing is delivered in a pause."""
    pair = TLSPair(we_serve, version).shake_hands()
    transport, ours = pair.transport, pair.ours
    sent_by_us = sent_by_them = b""
    paused = False

    def forbid():
        raise AssertionError("delivered in a pause")

    def pause():
        nonlocal paused
        transport.pauseProducing()
        paused, ours.on_data = True, forbid

    def resume():
        nonlocal paused
        paused, ours.on_data = False, lambda: None
        transport.resumeProducing()

    for what, size in steps:
        if what == "we write":
            transport.write(LETTERS[:size])
            sent_by_us += LETTERS[:size]
        elif what == "they write":
            pair.they_write(LETTERS[:size])
            sent_by_them += LETTERS[:size]
        elif what == "arrive" and pair.below.producerState == "producing":
            pair.arrive(size)
        elif what == "late":
            pair.they_write(LETTERS[:size])
            sent_by_them += LETTERS[:size]
            pair.arrive(len(pair.to_us))  # read before a pause, perhaps, and worked on after it
        elif what == "pause":
            pause()
        elif what == "resume":
            resume()
        elif what == "turn":
            pair.clock.advance(0)
        elif what == "pump":
            pair.pump_ours()
        elif what == "pause inside" and not paused:
            ours.on_data = pause
    assert sent_by_them.startswith(ours.received)
    if last == "paused":
        pause()
    elif last == "pausing" and not paused:
        ours.on_data = pause
    if last != "reading":
        pair.they_write(b"the last words")
        sent_by_them += b"the last words"
    if ends == "they":
        pair.they_say_goodbye()
    pair.arrive(len(pair.to_us))
    if ends == "we":
        pair.transport.loseConnection()
    elif ends == "half":
        pair.transport.loseWriteConnection()
        pair.transport.write(b"dropped")
        pair.they_write(b"after ours")
        sent_by_them += b"after ours"
    received = ours.received
    assert (pair.below.ended is None) == (ends == "half" or ends == "cut" or (ends == "they" and paused))
    resume()
    if ends != "cut":
        pair.settle()
    transport.connectionLost(Failure(ConnectionDone()))
    pair.pump_ours()
    assert pair.received == sent_by_us
    assert ours.received == (received if ends == "we" else sent_by_them)
    assert pair.their_end == (None if ends == "cut" else "close_notify")
    assert pair.below.ended == ("closed" if ends in ("they", "we") else None)
    assert [type(each) for each in ours.lost] == [
        ConnectionDone if ends in ("they", "we") else ConnectionLost
    ]
    pair.clock.advance(1)
    assert ours.received == (received if ends == "we" else sent_by_them)


@SIDES
def test_what_waited_in_a_pause_comes_in_a_turn_of_its_own(we_serve):
    """Whoever resumes a transport is not called back before that returns; nor after a second pause."""
    pair = TLSPair(we_serve).shake_hands()
    pair.transport.pauseProducing()
    pair.they_write(b"held")
    pair.arrive(1000)
    pair.transport.resumeProducing()
    assert pair.ours.received == b""
    assert pair.below.producerState == "paused"
    pair.transport.pauseProducing()
    pair.clock.advance(0)
    assert pair.ours.received == b""
    pair.transport.resumeProducing()
    pair.clock.advance(0)
    assert pair.ours.received == b"held"
    assert pair.below.producerState == "producing"


@SIDES
def test_the_records_of_one_read_come_together(we_serve):
    """Ten events of a stream in one read are one call for whoever passes them on."""
    pair = TLSPair(we_serve).shake_hands()
    for _ in range(10):
        pair.they_write(b"event")
    pair.arrive(len(pair.to_us))
    assert (pair.ours.received, pair.ours.reads) == (b"event" * 10, 1)


def test_a_request_right_after_the_handshake_is_read():
    """A client's last flight and its first request may come in one read."""
    pair = TLSPair()
    for _ in range(2):
        with suppress(SSL.WantReadError):
            pair.theirs.do_handshake()
            pair.they_write(b"GET /")
        pair.take_theirs()
        pair.arrive(len(pair.to_us))
        pair.theirs.bio_write(pair.below.take())
    assert pair.ours.verified == 1
    assert pair.ours.received == b"GET /"


@SIDES
def test_what_is_written_before_the_handshake_goes_first(we_serve):
    """So does a close: it comes when that is sent."""
    pair = TLSPair(we_serve)
    pair.transport.write(b"AUTH x\r\n")
    pair.transport.writeSequence([b"PI", b"NG\r\n"])
    pair.transport.loseConnection()
    assert pair.below.ended is None
    with pytest.raises(AssertionError):
        pair.shake_hands()  # it ends at once
    pair.pump_ours()
    assert (pair.received, pair.their_end) == (b"AUTH x\r\nPING\r\n", "close_notify")
    assert pair.below.ended == "closed"


@SIDES
def test_a_close_before_the_handshake_is_a_cut(we_serve):
    """There is nothing that could be said."""
    pair = TLSPair(we_serve)
    pair.transport.loseConnection()
    assert pair.below.ended == "aborted"
    pair.transport.write(b"x")
    pair.transport.connectionLost(Failure(ConnectionAborted()))
    assert [type(each) for each in pair.ours.lost] == [ConnectionAborted]


@SIDES
def test_a_cut_says_no_close_notify(we_serve):
    """It would say that what was sent is whole (RFC 8446 §6.1); nothing is delivered any more."""
    pair = TLSPair(we_serve).shake_hands()
    pair.transport.write(b"a part")
    pair.they_write(b"x")
    pair.ours.on_data = pair.transport.abortConnection
    pair.arrive(1000)
    pair.they_write(b"y")
    pair.arrive(1000)
    pair.transport.write(b"more")
    pair.pump_ours()
    assert (pair.received, pair.their_end, pair.ours.received) == (b"a part", None, b"x")
    assert pair.below.ended == "aborted"


@SIDES
def test_a_record_that_was_tampered_with_ends_the_connection(we_serve):
    """Data before it are delivered; the protocol learns that TLS failed, the peer gets an alert."""
    pair = TLSPair(we_serve).shake_hands()
    pair.they_write(b"whole")
    whole = len(pair.to_us)
    pair.they_write(b"tampered with")
    pair.to_us = pair.to_us[:-1] + bytes([pair.to_us[-1] ^ 1])
    pair.arrive(len(pair.to_us))
    assert whole
    assert pair.ours.received == b"whole"
    assert pair.below.ended == "closed"
    with pytest.raises(SSL.Error, match="bad record mac"):
        pair.pump_ours()
    pair.transport.connectionLost(Failure(ConnectionDone()))
    (error,) = pair.ours.lost
    assert is_tls_failure(Failure(error))
    assert "decryption failed or bad record mac" in openssl_words(error)


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.booleans(), st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_comes_nothing_is_raised(we_serve, is_open, pieces):
    """In the handshake and after it: the protocol's connection is lost at most."""
    pair = TLSPair(we_serve)
    if is_open:
        pair.shake_hands()
    for piece in pieces:
        pair.transport.dataReceived(piece)
    pair.transport.connectionLost(Failure(ConnectionDone()))
    assert len(pair.ours.lost) == 1
    assert pair.ours.received == b""


def test_plain_http_at_a_port_of_tls():
    """The words by which the log names it."""
    pair = TLSPair()
    pair.transport.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    pair.transport.connectionLost(Failure(ConnectionDone()))
    assert [openssl_words(each) for each in pair.ours.lost] == ["http request"]
    assert pair.below.ended == "closed"


@SIDES
def test_a_renegotiation_is_refused(we_serve):
    """TLS 1.2 had it: it let a client cost a server a handshake with a few bytes (CVE-2011-1473)."""
    pair = TLSPair(we_serve, "1.2").shake_hands()
    assert pair.theirs.renegotiate()
    with suppress(SSL.WantReadError):
        pair.theirs.do_handshake()
    pair.take_theirs()
    pair.arrive(len(pair.to_us))
    pair.theirs.bio_write(pair.below.take())
    with pytest.raises(SSL.Error, match="no renegotiation"):
        pair.theirs.recv(1)
    assert pair.ours.verified == 1


def test_a_producer_is_paused_by_the_buffer_below_and_forgotten_at_the_end():
    """A paused one would keep the connection open for ever."""
    pair = TLSPair().shake_hands()
    producer = object()
    pair.transport.registerProducer(producer, True)
    assert pair.below.producer is producer
    pair.transport.loseConnection()
    assert pair.below.producer is None
    assert pair.transport.disconnecting
    stopped = []

    class Late:
        def stopProducing(self):
            stopped.append(True)

    pair.transport.registerProducer(Late(), True)
    assert stopped == [True]


def test_it_is_a_transport_of_tls():
    """By that a channel knows that its client's connection is secure; the rest is asked of the one below."""
    pair = TLSPair().shake_hands()
    assert ISSLTransport.providedBy(pair.transport)
    assert pair.transport.getPeer() == pair.below.getPeer()
    assert pair.transport.getHost() == pair.below.getHost()
    assert pair.transport.getPeerCertificate() is None
    assert TLSPair(we_serve=False).shake_hands().transport.getPeerCertificate()


def test_a_factory_that_refuses_a_connection():
    """No TLS is begun for it."""

    class Refusing(Factory):
        def buildProtocol(self, addr):
            return None

    assert TLSFactory(Refusing(), None, None).buildProtocol(None) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLError(1, "[SSL: HTTP_REQUEST] http request (_ssl.c:1006)"), "http request"),
        (ssl.SSLError(1, "[SSL] Something new (_ssl.c:1)"), "something new"),
        (ssl.SSLError(1, "unknown error"), "unknown error"),
        (ssl.SSLError(), ""),
        (OSError(1, "x"), ""),
        (None, ""),
    ],
)
def test_words_of_openssl(error, words):
    """Whatever Python puts around them."""
    assert openssl_words(error) == words
