"""Nothing holds a client's key longer than its connection: neither a memo nor a global."""

import gc
from types import CellType

from fakes import Downstream, ReadyBody, exchange
from fakes import response as answered

from openai_proxy.observe.exchange_log.capture import Capture
from openai_proxy.observe.exchange_log.files import file_name
from openai_proxy.observe.exchange_log.line import exchange_line
from openai_proxy.observe.lines.record import metadata, text_line
from openai_proxy.policies.authenticate.caller import Callers
from openai_proxy.policies.authenticate.credentials import find_client_digest, replace_credentials
from openai_proxy.wire.targets import map_target
from openai_proxy.wire.web_origins import page_marks


def canary(number):
    """Return a key that stands in no constant of this file."""
    return b"-".join([b"sk", b"canary", b"%06d" % number, b"abcdefghijkl"])


def holders(needle):
    """Return the containers in which a byte string or text with `needle` is found: one look at all there is."""
    gc.collect()
    text = needle.decode()
    return [
        (type(container), str(container)[:200])
        for container in gc.get_objects()
        if type(container) is not CellType  # of this very search
        for each in gc.get_referents(container)
        if (type(each) is bytes and needle in each) or (type(each) is str and text in each)
    ]


def lines(key):
    return [
        b"Authorization: Bearer " + key,
        b"api-key: " + key,
        b"x-api-key: " + key,
        b"Proxy-Authorization: Basic " + key,
        b"Cookie: session=" + key,
        b"X-Anything: " + key,
        b"User-Agent: curl " + key,
        b"x-" + key + b": 1",
        b"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key." + key,
    ]


def read_and_watched(line):
    """Let the edge read a line of a head, the stages and the observers look at it, and close the connection."""

    async def forward(request):
        Callers().find(request.headers)
        find_client_digest(request.headers)
        page_marks(request.headers)
        replace_credentials(request.headers, b"authorization", b"up")
        return answered(ReadyBody(b"ok"))

    world = Downstream(forward)
    client = world.connect()
    for _ in range(3):
        client.send(b"GET /v1/files HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
    assert len(world.published) == 3
    for each in world.published:
        exchange_line(each, 1000)
        text_line(each)
        metadata(each)
        file_name(each)
    client.lose()


def test_no_header_line_stays():
    """Whichever line of a head a key stands in."""
    assert len(lines(b"")) == 9
    for number in range(9):
        read_and_watched(lines(canary(number))[number])
    assert holders(canary(0)[:15]) == []


def test_no_model_and_no_body_stays():
    """A key given as the model, in a member, in a member's name, in an answer."""
    key = canary(99)
    made = exchange(model=key.decode(), request_body=b'{"model":"%b","%b":"%b"}' % (key, key, key))
    made.request_is_ordinary = True
    made.request_headers = made.response_headers = []
    made.capture = Capture(10_000)
    made.capture.response.feed(b'{"client_secret":"%b"}' % key)
    for use in (text_line, metadata, file_name, lambda each: exchange_line(each, 1000)):
        use(made)
    map_target(b"/v1/files/" + b"a" * 60 + key)
    del made, use
    assert holders(key) == []
