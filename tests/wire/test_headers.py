"""What header lines say: framing, hops, hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.errors import MalformedRequest
from openai_proxy.wire.body_headers import media_type_and_coding
from openai_proxy.wire.headers import announced_length, get, scan_request, scan_response, without

HOST = (b"Host", b"proxy")


def scan(*pairs, http11=True, host=True):
    return scan_request([HOST, *pairs] if host else list(pairs), http11, b"openai-proxy")


def test_end_to_end_lines_keep_order_case_and_repetition():
    """Only Host goes; everything else is the next hop's business as it is."""
    pairs = [(b"X-A", b"1"), (b"x-a", b"2"), (b"Cookie", b" c "), (b"Content-Length", b"3")]
    assert scan(*pairs).forward == pairs


@pytest.mark.parametrize(
    "name", [b"Connection", b"KEEP-ALIVE", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade"]
)
def test_hop_by_hop_lines_are_dropped(name):
    """RFC 9110 §7.6.1, in any case."""
    assert scan((name, b"x")).forward == []
    assert scan_response([(name, b"x"), (b"Date", b"d")]).forward == [(b"Date", b"d")]


def test_nominated_lines_are_dropped():
    """Connection names further fields that are for this hop only."""
    pairs = [
        (b"Connection", b"close, X-Mine ,"),
        (b"x-mine", b"1"),
        (b"Connection", b"x-too"),
        (b"X-Too", b"2"),
    ]
    assert scan(*pairs, (b"X-Stays", b"3")).forward == [(b"X-Stays", b"3")]
    assert scan_response([*pairs, (b"X-Stays", b"3")]).forward == [(b"X-Stays", b"3")]


def test_an_answer_loses_a_field_that_is_named_as_the_option_close_is():
    """`Connection: close` nominates a field of that name, as it does any other."""
    pairs = [(b"Connection", b"close"), (b"Close", b"x"), (b"Date", b"d")]
    assert scan_response(pairs).forward == [(b"Date", b"d")]


@pytest.mark.parametrize("name", [b"Content-Length", b"Authorization", b"api-key", b"Via"])
def test_framing_and_credentials_can_not_be_nominated_away(name):
    """A Connection header is no way to smuggle or to lose a key."""
    assert scan((b"Connection", name), (name, b"1")).forward == [(name, b"1")]


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"Content-Length", b"5"), (b"Content-Length", b"5")],
        [(b"Content-Length", b"5, 5")],
        [(b"Content-Length", b"+5")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"\xb2")],
        [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"identity")],
        [(b"Host", b"other")],
    ],
)
def test_ambiguous_framing_is_refused(pairs):
    """Two readings of one message are how requests are smuggled."""
    with pytest.raises(MalformedRequest):
        scan(*pairs)


@pytest.mark.parametrize("host", [b"a b", b"user@a", b"a/b", b"a:b", b"[::1", b"a?b", b"\xe9", b"a\\b"])
def test_invalid_host_is_refused(host):
    """A Host that no URL could have named."""
    with pytest.raises(MalformedRequest):
        scan((b"Host", host), host=False)


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"127.0.0.1:8080", b"[::1]:80", b"a_b", b"", b"a:"])
def test_valid_host_is_taken(host):
    """Names, addresses, ports, and none at all (RFC 9112 §3.2)."""
    assert scan((b"Host", host), host=False).host == host


def test_only_http10_may_leave_host_out():
    """RFC 9112 §3.2."""
    assert scan(host=False, http11=False).host is None
    with pytest.raises(MalformedRequest):
        scan(host=False)


def test_chunked_is_for_http11():
    """An HTTP/1.0 client cannot have meant it."""
    assert scan((b"Transfer-Encoding", b" Chunked ")).chunked
    with pytest.raises(MalformedRequest):
        scan((b"Transfer-Encoding", b"chunked"), http11=False)


@pytest.mark.parametrize(
    ("http11", "connection", "kept"),
    [
        (True, b"", True),
        (True, b"close", False),
        (True, b"Close, x", False),
        (False, b"", False),
        (False, b"Keep-Alive", True),
        (False, b"keep-alive, close", False),
    ],
)
def test_persistence(http11, connection, kept):
    """RFC 9112 §9.3."""
    assert scan((b"Connection", connection), http11=http11).keep_alive is kept


def test_facts_of_a_head():
    """What the edge asks, in one pass."""
    head = scan(
        (b"Content-Length", b"12"),
        (b"Content-Type", b"Application/JSON ; charset=utf-8"),
        (b"Content-Encoding", b"br"),
        (b"Expect", b"100-Continue"),
        (b"Via", b"1.1 other, 1.1 openai-proxy"),
        (b"via", b"1.0 openai-proxy (x)"),
    )
    assert (head.content_length, head.has_body, head.content_type) == (12, True, b"application/json")
    assert (head.encoded, head.expects_continue, head.vias) == (True, True, 2)
    assert not scan((b"Content-Encoding", b"identity")).encoded
    assert not scan((b"Expect", b"100-continue")).expects_continue


def test_upgrade_needs_its_connection_option():
    """Upgrade without Connection requests nothing (RFC 9110 §7.8)."""
    assert scan((b"Upgrade", b"WebSocket")).upgrade == b""
    assert scan((b"Upgrade", b"WebSocket"), (b"Connection", b"x, Upgrade")).upgrade == b"websocket"


def test_length_is_read_whole_or_refused():
    """Behind twenty zeros the rest was cut off: no body went up under a length that announced one."""
    assert scan((b"Content-Length", b"0" * 18 + b"5")).content_length == 5
    for digits in (b"0" * 20 + b"5", b"0" * 5000 + b"5", b"9" * 20):
        with pytest.raises(MalformedRequest):
            scan((b"Content-Length", digits))


def test_close_for_a_proxy_is_a_close():
    """llhttp reads nothing after it: the client's next request was called malformed."""
    assert not scan((b"Proxy-Connection", b"x, Close")).keep_alive
    head = scan((b"Proxy-Connection", b"x"), (b"X", b"y"))
    assert (head.keep_alive, head.forward) == (True, [(b"X", b"y")])


def test_upgrade_in_http_1_0_is_ignored():
    """RFC 9110 §7.8: such a client could not make anything of a 101."""
    lines = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert scan_request(lines, False, b"openai-proxy").upgrade == b""


@pytest.mark.parametrize("values", [(b"h2c, WebSocket",), (b"websocket", b"h2c"), (b"h2c", b"websocket")])
def test_upgrade_is_a_list(values):
    """A handshake that offers another protocol too went upstream as a plain GET."""
    lines = [(b"Upgrade", value) for value in values]
    assert scan(*lines, (b"Connection", b"upgrade")).upgrade == b"websocket"
    assert scan((b"Upgrade", b"H2C, x"), (b"Connection", b"upgrade")).upgrade == b"h2c, x"


def test_small_functions():
    """get and without do what they say."""
    pairs = [(b"A", b" 1 "), (b"a", b"2"), (b"B", b"3")]
    assert get(pairs, b"a") == b"1"
    assert get(pairs, b"c") is None
    assert without(pairs, b"a") == [(b"B", b"3")]


NAMES = st.sampled_from(
    [b"A", b"Connection", b"Content-Length", b"Host", b"Transfer-Encoding", b"Via", b"TE"]
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=12)), max_size=6), st.booleans())
def test_any_lines_are_read_or_refused(pairs, http11):
    """Never anything but MalformedRequest; what passes has one framing."""
    try:
        head = scan_request(pairs, http11, b"openai-proxy")
    except MalformedRequest:
        return
    assert not (head.chunked and head.content_length is not None)
    assert all(pair in pairs for pair in head.forward)
    assert not {name.lower() for name, _ in head.forward} & {b"te", b"connection", b"transfer-encoding"}


@pytest.mark.parametrize(
    "name",
    [
        b"Content_Length",
        b"content_length",
        b"Transfer_Encoding",
        b"TRANSFER-ENCODING_"[:-1].replace(b"-", b"_"),
    ],
)
def test_framing_with_underscores_is_refused(name):
    """CGI and WSGI read it as the real one: who disagrees about a body's end can be made to smuggle."""
    with pytest.raises(MalformedRequest):
        scan_request([(b"Host", b"a"), (name, b"5")], True, b"p")


@pytest.mark.parametrize(
    "name",
    [b"api_key", b"X_Api_Key", b"content_type", b"CONTENT_ENCODING", b"proxy_authorization", b"Keep_Alive"],
)
def test_lines_that_decide_something_do_not_pass_with_underscores(name):
    """They would reach a WSGI program as the header that was checked, replaced or removed here."""
    head = scan_request([(b"Host", b"a"), (name, b"x"), (b"X_Mine", b"y"), (b"x-b", b"z")], True, b"p")
    assert head.forward == [(b"X_Mine", b"y"), (b"x-b", b"z")]
    assert head.content_type == b""


@pytest.mark.parametrize(
    ("value", "sent"), [(b"5", b"5"), (b"0", b"0"), (b"05", b"5"), (b"00", b"0"), (b"0012", b"12")]
)
def test_a_length_goes_on_as_a_plain_number(value, sent):
    """With leading zeros some servers read octal."""
    head = scan_request([(b"Host", b"a"), (b"content-Length", value)], True, b"p")
    assert (head.forward, head.content_length) == ([(b"content-Length", sent)], int(sent))


@pytest.mark.parametrize("http11", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [b"y 100-continue"],
        [b"100-continue y"],
        [b"100-continue, x"],
        [b"x"],
        [b""],
        [b"100-Continue"],
        [b"100-continue"] * 2,
    ],
)
def test_only_the_expectation_that_is_understood_goes_on(values, http11):
    """Once, and only from HTTP/1.1 (RFC 9110 §10.1.1)."""
    lines = [(b"Host", b"a"), (b"Content-Length", b"5"), *((b"Expect", value) for value in values)]
    head = scan_request(lines, http11, b"p")
    understood = http11 and values[0].lower() == b"100-continue"
    assert head.expects_continue is understood
    assert head.forward[1:] == ([(b"Expect", values[0])] if understood else [])


READ = [
    "Content-Type",
    "content-type",
    "CONTENT-ENCODING",
    "content-encoding",
    "X-Request-ID",
    "x-request-id",
    "Server",
]
VALUES = [
    "application/json",
    "Text/Event-Stream ; charset=utf-8",
    "",
    " gzip",
    "GZIP,br ",
    "identity",
    "\treq_1 ",
    "req_2",
]
LINE = st.one_of(
    st.tuples(st.sampled_from(READ), st.sampled_from(VALUES)),
    st.tuples(
        st.just("Connection"), st.sampled_from(["keep-alive", "X-Request-ID", "content-type, x-request-id"])
    ),
)


@given(st.lists(LINE, max_size=8), st.sampled_from([None, "0", "7", "007"]))
def test_what_a_response_head_carries_is_what_stands_in_its_lines(lines, length):
    """The lines that go on carry their type, coding, id and length: the same as a look into a copy of them finds."""
    if length is not None:
        lines.insert(len(lines) // 2, ("Content-Length", length))
    found = scan_response([(name.encode(), value.encode()) for name, value in lines]).forward
    assert found.content_length == announced_length(list(found)) == (None if length is None else int(length))
    assert found.media == media_type_and_coding(list(found))
    assert found.request_id == get(list(found), b"x-request-id")


def test_changed_lines_carry_nothing():
    """Whoever changes headers makes a new list: what was read in the old one does not hold for it."""
    found = scan_response([(b"Content-Type", b"text/event-stream"), (b"x-request-id", b"a")]).forward
    for changed in (found.copy(), [*found, (b"a", b"b")], without(found, b"server"), found[:1]):
        assert type(changed) is list
