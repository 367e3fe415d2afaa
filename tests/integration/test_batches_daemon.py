"""Batches of keys with rules, by the openai library, through real daemons."""

import contextlib
import json
import re
import signal
import sqlite3

import pytest
from world.client import Client, ask
from world.daemon import configured
from world.waiting import eventually

openai = pytest.importorskip("openai", reason="pip install openai")

TOML = """
[cost]
state_file = "state.sqlite3"

[[cost.prices]]
match = "m"
input_usd_per_million = 0
output_usd_per_million = 1000000   # a dollar for each token, half in a batch

[[keys]]
name = "alice"
key = "alice-key"
models = ["m"]
budget_usd = 100
endpoints = ["@metered", "files", "files/*", "batches", "batches/*"]

[[keys]]
name = "bob"
key = "bob-key"
"""
ENV = {"OPENAI_API_KEY": "sk-up", "OBSERVERS": "none"}
PAD = "x" * 500


def line(model="m", number=0, **body):
    body = {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}], **body}
    request = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request).encode() + b"\n"


class Api:
    """The parts of files and batches that these tests use; batches end when a test says so."""

    def __init__(self):
        self.files = {}
        self.batches = {}
        self.ended = {}

    def __call__(self, call):
        body = call.read_body()
        path = call.target.partition(b"?")[0].decode()
        assert call.header(b"authorization") == b"Bearer sk-up"
        if path == "/v1/files":
            name = f"file-{len(self.files) + 1}"
            self.files[name] = body
            call.reply_json({"id": name, "object": "file", "bytes": len(body), "purpose": "batch"})
        elif path == "/v1/batches" and call.method == b"POST":
            name = f"batch_{len(self.batches) + 1}"
            self.batches[name] = json.loads(body)
            call.reply_json(self.batch(name))
        elif path == "/v1/batches":
            call.reply_json({"object": "list", "data": [self.batch(name) for name in self.batches]})
        else:
            call.reply_json(self.batch(path.rpartition("/")[2]))

    def batch(self, name):
        status = "completed" if name in self.ended else "in_progress"
        counts = {"total": 2, "completed": 2 if name in self.ended else 0, "failed": 0}
        usage = {"input_tokens": 0, "output_tokens": self.ended.get(name, 0)}
        return {
            "id": name,
            "object": "batch",
            "status": status,
            **self.batches[name],
            "request_counts": counts,
            "usage": {**usage, "total_tokens": usage["output_tokens"]},
        }


def client(world, key="alice"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{world.port}/v1", api_key=f"{key}-key", max_retries=0)


def standing(world):
    """Return what is spent and reserved of alice's budget, and what the totals say."""
    page = json.loads(ask(world.port, b"GET /admin/usage HTTP/1.1\r\nHost: proxy\r\n\r\n").body)
    (budget,) = page["budgets"]
    return budget["spent_usd"], budget["reserved_usd"], page["total"]["cost_usd"]


def held_in(path):
    """Return who holds how much of the budgets in a state file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT owner, held_usd FROM spending WHERE held_usd > 0").fetchall()


def upload(api, *lines):
    return api.files.create(file=("in.jsonl", b"".join(lines)), purpose="batch").id


def create(api, file):
    return api.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_batch_is_reserved_and_paid_once_over_a_restart(start, tmp_path, workers):
    """Killed in between; whichever worker is asked, and by whom."""
    upstream_api = Api()
    options = {"directory": tmp_path, **configured(tmp_path, TOML), "env": {**ENV, "WORKERS": workers}}
    world = start(**options)
    world.upstream.script = upstream_api
    with client(world) as api:
        file = upload(api, line(), line(number=1))
        assert line() + line(number=1) in upstream_api.files[file]
        batch = create(api, file)
        assert batch.status == "in_progress"
        assert eventually(lambda: standing(world) == (0.0, 4.0, 0.0))
        assert api.batches.retrieve(batch.id).status == "in_progress"
        # what a process has reserved itself is free a minute after it was killed: this is not
        assert eventually(lambda: held_in(tmp_path / "state.sqlite3") == [(f"call:{batch.id}", 4.0)])
    world.daemon.signal(signal.SIGKILL)
    assert world.daemon.wait_until_gone()
    again = start(upstream=world.upstream, **options)
    assert eventually(lambda: standing(again) == (0.0, 4.0, 0.0))
    upstream_api.ended[batch.id] = 6
    with client(again) as api, client(again, "bob") as other:
        for _ in range(3):
            assert api.batches.retrieve(batch.id).status == "completed"
            assert other.batches.retrieve(batch.id).usage.output_tokens == 6
        assert eventually(lambda: standing(again) == (3.0, 0.0, 3.0))
        second = create(api, upload(api, line()))
        upstream_api.ended[second.id] = 2
        assert len(api.batches.list().data) == 2
        assert eventually(lambda: standing(again) == (4.0, 0.0, 4.0))


def test_files_that_are_not_known_or_ask_for_too_much_run_nothing(start, tmp_path):
    """Another key's, older ones, other models: 403 that says what to do, and the upstream is not asked."""
    upstream_api = Api()
    world = start(directory=tmp_path, **configured(tmp_path, TOML), env=ENV)
    world.upstream.script = upstream_api
    with client(world) as alice, client(world, "bob") as bob:
        files = {
            "file-0": "not_measured",
            upload(bob, line()): "not_measured",
            upload(alice, line(), line("n")): "model_not_allowed",
            upload(alice, line(tools=[{"type": "web_search"}])): "not_measured",
            upload(alice, line(), b"{"): "not_measured",
        }
        for file, code in files.items():
            with pytest.raises(openai.PermissionDeniedError) as refused:
                create(alice, file)
            assert refused.value.code == code
            assert refused.value.request_id.startswith("proxy-")
        assert upstream_api.batches == {}
        assert create(bob, "file-0").id == "batch_1"


def test_a_long_file_streams_in_chunks_and_is_not_held(start, tmp_path):
    """60 MB of lines, cut anywhere: the memory of the daemon does not grow with them."""
    world = start(directory=tmp_path, **configured(tmp_path, TOML), env=ENV)
    seen = []

    def count(call):
        if call.target == b"/v1/files":
            seen.append(sum(map(len, call.body_parts())))
            call.reply_json({"id": "file-1", "object": "file"})
        else:
            call.read_body()
            call.reply_json({"id": "batch_1", "object": "batch", "status": "validating"})

    world.upstream.script = count
    file = b"".join(line(number=number, user=PAD) for number in range(1000))
    head = (
        b'--xXx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--xXx\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
    )
    end = b"\r\n--xXx--\r\n"
    times = 60_000_000 // len(file)
    before = world.daemon.resident_bytes()
    most = 0
    with Client(world.port) as raw:
        raw.send(
            b"POST /v1/files HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer alice-key\r\n"
            b"Content-Type: multipart/form-data; boundary=xXx\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for part in (head, *([file] * times), end):
            raw.send(b"%x\r\n%b\r\n" % (len(part), part))
            most = max(most, world.daemon.resident_bytes())
        raw.send(b"0\r\n\r\n")
        assert raw.response().status == 200
    assert seen == [len(head) + times * len(file) + len(end)]
    assert most - before < 40_000_000
    with client(world) as api, pytest.raises(openai.RateLimitError) as refused:
        api.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
        # as long as nothing is spent a batch may go beyond the budget, and reserves all of it
        api.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
    cost = float(re.search(r"may cost \$([0-9.]+)", str(refused.value))[1])
    assert cost == 1000 * times * 4 / 2
