"""Realtime from a page in a real browser, whose key is a subprotocol: as the SDK's class for browsers does it."""

import functools
import http.server
import json
import threading

import pytest
from world.browser import Browser
from world.daemon import configured
from world.pages import metrics, total
from world.waiting import eventually
from world.websocket_server import WebSocketServer

KEY, UPSTREAM_KEY = "sk-of-the-page", "sk-of-the-upstream"
KEYS = """
[[cost.prices]]
match = "*"
input_usd_per_million = 0
output_usd_per_million = 1000000   # a dollar for each token
output_audio_usd_per_million = 1000000
[[keys]]
name = "page"
key = "sk-of-the-page"
endpoints = ["*"]
budget_usd = 8
"""
TALK = """
new Promise((resolve) => {
  const heard = [];
  const socket = new WebSocket("ws://127.0.0.1:%d/v1/realtime?model=m", ["realtime", "openai-insecure-api-key.%s", "openai-beta.realtime-v1"]);
  socket.onopen = () => { heard.push(socket.protocol); socket.send(JSON.stringify({type: "response.create"})); };
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    heard.push(event.type === "error" ? event.error.code : event.type);
    if (event.type === "error" || heard.length === 7) socket.close(1000);
    else if (event.type === "response.done") socket.send(JSON.stringify({type: "response.create"}));
  };
  socket.onclose = (close) => { heard.push(close.code); resolve(heard); };
})
"""


def speak(connection):
    """Answer each turn with sound, of five tokens."""
    for number, message in enumerate(connection):
        assert json.loads(message)["type"] == "response.create"
        response = {"id": f"resp_{number}", "object": "realtime.response"}
        connection.send(json.dumps({"type": "response.created", "response": response}))
        usage = {"input_tokens": 7, "output_tokens": 5, "output_token_details": {"audio_tokens": 5}}
        connection.send(json.dumps({"type": "response.done", "response": {**response, "usage": usage}}))


@pytest.fixture
def server():
    server = WebSocketServer()
    server.handler = speak
    yield server
    server.close()


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


@pytest.fixture
def page(tmp_path):
    """Serve an empty page from an origin of its own, and give that."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<!doctype html><title>app</title>")
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "page")
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
    thread = threading.Thread(target=app.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{app.server_port}"
    app.shutdown()
    app.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("toml", "env", "sent", "heard"),
    [
        pytest.param(
            KEYS,
            {"OPENAI_API_KEY": UPSTREAM_KEY},
            UPSTREAM_KEY,
            ["realtime", "response.created", "response.done", "response.created", "response.done", "insufficient_quota", 1000],
            id="tenants",
        ),
        pytest.param("", {}, KEY, ["realtime", *["response.created", "response.done"] * 3, 1000], id="pass-through"),
        pytest.param(
            '[cors]\norigins = ["ORIGIN"]\n[websocket]\ninspect = "always"\n',
            {"OPENAI_API_KEY": UPSTREAM_KEY},
            UPSTREAM_KEY,
            ["realtime", *["response.created", "response.done"] * 3, 1000],
            id="inject",
        ),
        pytest.param("", {"OPENAI_API_KEY": UPSTREAM_KEY}, None, [1006], id="inject-foreign-page"),
    ],
)  # fmt: skip
def test_a_page_of_another_origin_talks(start, server, browser, page, tmp_path, toml, env, sent, heard):
    """With the key of its mode upstream, and its turns paid; another's page never spends the key of `inject`."""
    daemon = start(
        url=server.url,
        directory=tmp_path,
        **configured(tmp_path, toml.replace("ORIGIN", page)),
        env=env,
    ).daemon
    browser.open(f"{page}/index.html")
    came = browser.run(TALK % (daemon.port, KEY))
    assert came[: len(heard) - 1] == heard[:-1]
    assert came[-1] == heard[-1]
    if sent is None:
        assert server.handshakes == []
        assert any("403" in line for line in browser.complaints)
        return
    [handshake] = server.handshakes
    offered = [each.strip() for each in handshake.headers["Sec-WebSocket-Protocol"].split(",")]
    assert offered == ["realtime", f"openai-insecure-api-key.{sent}", "openai-beta.realtime-v1"]
    assert sent == KEY or KEY not in str(handshake.headers)
    if toml:
        turns = 3
        counted = "openai_proxy_websocket_turns_total"
        assert eventually(lambda: total(metrics(daemon.port), counted) == turns)
