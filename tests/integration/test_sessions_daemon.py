"""Sessions that stay at their prompt cache, distinguished by a header of the client's."""

import pytest
from world.client import Client
from world.pages import metrics
from world.requests import KEY, post
from world.scripts import COMPLETION
from world.upstream import Upstream
from world.world import before_two

SESSIONS, TURNS = 8, 4


def script(name, seen):
    """Return a script that notes who was asked with which session's header."""

    def answer(call):
        call.read_body()
        seen.append((name, call.header(b"x-session-id"), call.body))
        call.reply_json(COMPLETION)

    return answer


@pytest.mark.parametrize("private", [False, True])
def test_a_session_stays_at_one_upstream(start, tmp_path, private):
    """All turns of a session, whatever their text; a private header does not go up."""
    seen, second = [], Upstream()
    toml = (
        '[routing]\nstick = "cache"\nsession_header = "x-session-id"\n'
        f"session_header_private = {str(private).lower()}\n"
    )
    world = before_two(start, second, tmp_path, toml, priority=0)
    world.upstream.script, second.script = script("first", seen), script("second", seen)
    try:
        with Client(world.port) as client:
            for turn in range(TURNS):
                for session in range(SESSIONS):
                    text = f"turn {turn} of session {session}"
                    document = {"model": "m", "messages": [{"role": "user", "content": text}]}
                    client.send(post(KEY, document, headers=[f"X-Session-Id: session-{session}"]))
                    assert client.response().status == 200
    finally:
        second.close()
    assert len(seen) == TURNS * SESSIONS
    homes = [{name for name, _, body in seen if b"session %d" % each in body} for each in range(SESSIONS)]
    assert [len(each) for each in homes] == [1] * SESSIONS
    assert set.union(*homes) == {"first", "second"}
    assert all((header is None) == private for _, header, _ in seen)
    page = metrics(world.port)
    for name in ("first", "second"):
        count = sum(asked == name for asked, _, _ in seen)
        assert f'openai_proxy_upstream_choices_total{{reason="cache",upstream="{name}"}} {count}' in page
