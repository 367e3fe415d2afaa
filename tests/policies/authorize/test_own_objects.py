"""A key sees its own stored objects only."""

import gzip
import json

import pytest
from cost.sync_file import SyncFile
from fakes import (
    Forward,
    ReadyBody,
    Uploads,
    exchange,
    incoming,
    outcome_of,
    read,
    results_of,
    through,
)
from twisted.internet.defer import Deferred, fail

from openai_proxy.cost.object_owners import FileOwners
from openai_proxy.exchange.access_errors import EndpointNotAllowed
from openai_proxy.exchange.errors import NoSuchObject, OwnersUnavailable, UnreadableBody
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.policies.authorize.own_objects import OwnObjects
from openai_proxy.wire.request_json import outline

NAMES = {"alice": "key:alice", "bob": "key:bob"}
JSON = (b"Content-Type", b"application/json")
EVENTS = (b"Content-Type", b"text/event-stream")


class OwnedObjects:
    """A stage over a real file; `asked` are the requests that went upstream."""

    def __init__(self, path, allows_unknown=False, owners=None):
        self.now = 0.0
        self.owners = owners or FileOwners(SyncFile(path), lambda: self.now)
        self.stage = OwnObjects(self.owners, NAMES, allows_unknown)
        self.asked = []

    def ask(
        self, key, method, target, endpoint, answer=b"{}", *lines, document=None, status=200, upgrade=False
    ):
        text = None if document is None else json.dumps(document).encode()
        record = exchange(credential_id=key, streaming=EVENTS in lines)
        kept = None if document is None else outline(document)[0]
        request = ProxyRequest(
            method, target, [], text, record, document=kept, endpoint=endpoint, upgrade=upgrade
        )
        forward = Forward(ProxyResponse(status, b"", list(lines or (JSON,)), ReadyBody(answer)))
        outcome = outcome_of(through(self.stage, request, forward))
        self.asked += forward.requests
        return outcome

    def make(self, key, name, endpoint="files", **fields):
        response = self.ask(
            key, b"POST", b"/" + endpoint.encode(), endpoint, json.dumps({"id": name}).encode(), **fields
        )
        assert read(response) == json.dumps({"id": name}).encode()

    def get(self, key, name):
        return self.ask(key, b"GET", b"/files/" + name.encode(), "files/{id}")


@pytest.fixture
def objects(tmp_path):
    return OwnedObjects(tmp_path / "state.sqlite3")


def test_others_objects_are_not_there(objects):
    """The same words for another's and an unknown one, and nothing goes upstream; mine and an administrator's pass."""
    objects.make("alice", "file-1")
    asked = len(objects.asked)
    refusals = [objects.get("bob", "file-1"), objects.get("bob", "file-2"), objects.get("alice", "file-2")]
    assert all(isinstance(each, NoSuchObject) for each in refusals)
    assert [each.message for each in refusals] == [f"No such File object: file-{n}" for n in (1, 2, 2)]
    assert json.loads(refusals[0].body())["error"]["code"] is None
    assert len(objects.asked) == asked
    assert isinstance(objects.get("alice", "file-1"), ProxyResponse)
    assert isinstance(objects.get("root", "file-1"), ProxyResponse)


def test_the_first_owner_stays(objects):
    """An answer that names another's object again takes nothing away."""
    objects.make("alice", "file-1")
    objects.make("bob", "file-1")
    assert isinstance(objects.get("bob", "file-1"), NoSuchObject)


def test_a_deleted_object_is_forgotten(objects):
    """Its id may come again."""
    objects.make("alice", "file-1")
    objects.ask("alice", b"DELETE", b"/files/file-1", "files/{id}", status=500)
    assert isinstance(objects.get("alice", "file-1"), ProxyResponse)
    objects.ask("alice", b"DELETE", b"/files/file-1", "files/{id}")
    assert isinstance(objects.get("alice", "file-1"), NoSuchObject)


def test_responses_are_forgotten_after_32_days(objects):
    """Files are not."""
    objects.make("alice", "resp_1", "responses", document={"input": "x"})
    objects.make("alice", "file-1")
    objects.now = 33 * 86400.0
    chained = {"previous_response_id": "resp_1"}
    assert isinstance(
        objects.ask("alice", b"POST", b"/responses", "responses", document=chained), NoSuchObject
    )
    assert isinstance(objects.get("alice", "file-1"), ProxyResponse)


def test_bodies_name_objects_too(objects):
    """Mine pass, another's do not."""
    objects.make("alice", "resp_1", "responses", document={"input": "x"})
    chained = {"previous_response_id": "resp_1"}
    assert isinstance(objects.ask("bob", b"POST", b"/responses", "responses", document=chained), NoSuchObject)
    assert isinstance(
        objects.ask("alice", b"POST", b"/responses", "responses", document=chained), ProxyResponse
    )


def test_an_error_makes_nothing(objects):
    """Only 2xx answers name objects."""
    objects.ask("alice", b"POST", b"/files", "files", b'{"id":"file-1"}', status=500)
    assert isinstance(objects.get("alice", "file-1"), NoSuchObject)


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_objects_of_streams_and_compressed_answers_are_learnt(objects, coding):
    """From the first event; the client gets the stream as it came."""
    stream = b': hello\n\nevent: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\ndata: x\n\n'
    lines = [(b"Content-Encoding", coding)] if coding else []
    pack = gzip.compress if coding else bytes
    response = objects.ask(
        "alice", b"POST", b"/responses", "responses", pack(stream), EVENTS, *lines, document={"stream": True}
    )
    assert read(response) == stream
    response = objects.ask("alice", b"POST", b"/files", "files", pack(b'{"id":"file-1"}'), JSON, *lines)
    assert read(response) == pack(b'{"id":"file-1"}')
    for name, collection in (("resp_1", "responses"), ("file-1", "files")):
        target = f"/{collection}/{name}".encode()
        assert isinstance(objects.ask("alice", b"GET", target, f"{collection}/{{id}}"), ProxyResponse)


def test_items_of_a_stream_may_be_referred_to(objects):
    """AI SDKs refer to what a streamed response held; others may not."""
    stream = (
        b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
        b'data: {"type":"response.output_item.added","item":{"id":"msg_1","type":"message"}}\n\n'
    )
    response = objects.ask(
        "alice", b"POST", b"/responses", "responses", stream, EVENTS, document={"stream": True}
    )
    assert read(response) == stream
    referring = {"input": [{"type": "item_reference", "id": "msg_1"}]}
    assert isinstance(
        objects.ask("alice", b"POST", b"/responses", "responses", document=referring), ProxyResponse
    )
    assert isinstance(
        objects.ask("bob", b"POST", b"/responses", "responses", document=referring), NoSuchObject
    )


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_lists_show_ones_own(objects, coding):
    """The rest of the page is untouched; what cannot be read is not shown."""
    objects.make("alice", "file-1")
    objects.make("bob", "file-2")
    page = b'{"object":"list","data":[{"id":"file-1"},{"id":"file-2"},{"id":"file-3"}],"has_more":true}'
    lines = (JSON, (b"Content-Encoding", coding)) if coding else (JSON,)
    pack = gzip.compress if coding else bytes
    shown = read(objects.ask("alice", b"GET", b"/files", "files", pack(page), *lines))
    assert shown == b'{"object":"list","data":[{"id":"file-1"}],"has_more":true}'
    assert read(objects.ask("root", b"GET", b"/files", "files", pack(page), *lines)) == pack(page)
    assert (
        json.loads(read(objects.ask("alice", b"GET", b"/files", "files", b'{"data":[{"x":1}]}')))["data"]
        == []
    )


OUTPUT = {"output_file_id": "file-out", "error_file_id": None}


@pytest.mark.parametrize(
    ("collection", "mine", "others", "made"),
    [
        (
            "batches",
            {"id": "batch_1", **OUTPUT},
            {"id": "batch_2", "output_file_id": None, "error_file_id": "file-err"},
            ("file-out", "file-err"),
        ),
        (
            "fine_tuning/jobs",
            {"id": "ftjob-1", "result_files": ["file-out"]},
            {"id": "ftjob-2", "result_files": ["file-err"]},
            ("file-out", "file-err"),
        ),
    ],
)
def test_lists_of_what_makes_files_tell_whose_those_are(objects, collection, mine, others, made):
    """Who waits for a batch by listing them all could not read what it had written."""
    target = f"/{collection}".encode()
    for key, entry in (("alice", mine), ("bob", others)):
        objects.make(key, entry["id"], collection)
    page = json.dumps({"object": "list", "data": [mine, others]}).encode()
    read(objects.ask("alice", b"GET", target, collection, page))
    assert isinstance(objects.get("alice", made[0]), ProxyResponse)
    assert isinstance(objects.get("bob", made[0]), NoSuchObject)
    assert isinstance(objects.get("alice", made[1]), NoSuchObject)


def test_a_list_makes_nobody_the_owner_of_what_is_older(tmp_path):
    """Whoever lists first would take it from the others."""
    objects = OwnedObjects(tmp_path / "state.sqlite3", allows_unknown=True)
    page = b'{"object":"list","data":[{"id":"batch_9","output_file_id":"file-9"}]}'
    assert read(objects.ask("alice", b"GET", b"/batches", "batches", page)) == page
    assert isinstance(objects.get("bob", "file-9"), ProxyResponse)


def test_unknown_objects_may_be_allowed(tmp_path):
    """For what is older than the setting: another key's are refused all the same."""
    objects = OwnedObjects(tmp_path / "state.sqlite3", allows_unknown=True)
    objects.make("alice", "file-1")
    assert isinstance(objects.get("bob", "file-9"), ProxyResponse)
    assert isinstance(objects.get("bob", "file-1"), NoSuchObject)


class Away:
    """A store that is away."""

    def find(self, names):
        return fail(OSError("away"))

    def keep(self, names, owner):
        return fail(OSError("away"))

    forget = find


def test_without_the_store_objects_are_away_and_chats_go_on(tmp_path):
    """503 for what names one; what it makes is delivered all the same."""
    objects = OwnedObjects(tmp_path, owners=Away())
    assert isinstance(objects.get("alice", "file-1"), OwnersUnavailable)
    objects.make("alice", "resp_1", "responses", document={"input": "x"})


class Slow(Away):
    """A store that has not written yet."""

    def keep(self, names, owner):
        self.written = Deferred()
        return self.written


def test_the_client_waits_until_the_owner_is_on_disk(tmp_path):
    """Whoever has an id can use it at once, also after a crash."""
    store = Slow()
    stage = OwnObjects(store, NAMES, allows_unknown=False)
    request = ProxyRequest(b"POST", b"/files", [], None, exchange(credential_id="alice"), endpoint="files")
    made = ProxyResponse(200, b"", [JSON], ReadyBody(b'{"id":"file-1"}'))
    results = results_of(through(stage, request, Forward(made)))
    assert results == []
    store.written.callback(None)
    assert read(results[0]) == b'{"id":"file-1"}'


PART = b'--xXx\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
FIELD = PART % (b"video[id]", b"", b"video_1")
A_FILE = PART % (b"video", b'; filename="a.mp4"', b"MP4")
END = b"--xXx--\r\n"


def uploaded(objects, key, *pieces, content_type=b"multipart/form-data; boundary=xXx", encoded=False):
    """Return what went up of a form, or the error."""
    body, forward = incoming(complete=False), Uploads(ProxyResponse(200, b"", [JSON], ReadyBody(b"{}")))
    request = ProxyRequest(
        b"POST",
        b"/videos/edits",
        [(b"Content-Type", content_type)],
        body,
        exchange(credential_id=key),
        endpoint="videos/edits",
        encoded=encoded,
    )
    results = results_of(through(objects.stage, request, forward))
    for piece in pieces:
        body.feed(piece)
    body.end()
    (result,) = results
    return forward.sent.data if isinstance(result, ProxyResponse) else result


def test_a_form_refers_to_ones_own_objects_only(objects):
    """`POST /videos/edits` and `/containers/{id}/files` take ids in forms: another key's was used."""
    objects.make("alice", "video_1", "videos")
    whole = FIELD + A_FILE + END
    assert uploaded(objects, "alice", whole) == whole
    assert uploaded(objects, "alice", *(whole[at : at + 1] for at in range(len(whole)))) == whole
    assert isinstance(uploaded(objects, "bob", whole), NoSuchObject)
    assert uploaded(objects, "bob", A_FILE + END) == A_FILE + END


def test_a_form_that_cannot_be_read_is_refused(objects):
    """A field behind a file would be read after the file has gone up."""
    for fields in (
        {"content_type": b"multipart/mixed; boundary=xXx"},
        {"content_type": b"multipart/form-data; boundary=xXx; boundary*=utf-8''y"},
        {"encoded": True},
    ):
        assert isinstance(uploaded(objects, "bob", A_FILE + END, **fields), UnreadableBody)
    assert isinstance(uploaded(objects, "bob", A_FILE, FIELD + END), UnreadableBody)
    assert uploaded(objects, "nobody", A_FILE, FIELD + END) == A_FILE + FIELD + END


OTHER_KINDS = [
    ("audio/voice_consents", "cons_1", b"/audio/voice_consents/cons_1", "audio/voice_consents/{id}", None),
    ("audio/voices", "voice_1", b"/audio/speech", "audio/speech", {"voice": {"id": "voice_1"}}),
    ("agents", "agent_1", b"/agents/sessions", "agents/sessions", {"agent_id": "agent_1"}),
    ("agents/environments", "env_1", b"/agents/sessions", "agents/sessions", {"environment": {"environment_id": "env_1"}}),
    ("agents/sessions", "sess_1", b"/agents/sessions/sess_1/items", "agents/sessions/{id}/items", None),
    ("agents/sessions", "sess_1", b"/agents/automations", "agents/automations", {"target": {"session_id": "sess_1"}}),
    ("vaults", "vault_1", b"/agents/sessions", "agents/sessions", {"vault_ids": ["vault_1"]}),
    ("live/sessions", "live_1", b"/live/sessions/live_1/content", "live/sessions/{id}/content", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "target", "endpoint", "document"), OTHER_KINDS)
def test_voices_agents_vaults_and_calls_have_owners(objects, kind, name, target, endpoint, document):
    """Another key could listen to them, run them, and use what is in them."""
    objects.make("alice", name, kind)
    method = b"GET" if document is None else b"POST"
    assert isinstance(objects.ask("bob", method, target, endpoint, document=document), NoSuchObject)
    assert isinstance(objects.ask("alice", method, target, endpoint, document=document), ProxyResponse)


def test_a_session_of_an_agent_is_learnt_from_its_stream(objects):
    """With the environment that was made for it."""
    event = {"type": "agent.session.created", "session": {"id": "sess_1", "environment": {"id": "env_1"}}}
    stream = b"data: " + json.dumps(event).encode() + b"\n\n"
    made = objects.ask("alice", b"POST", b"/agents/sessions", "agents/sessions", stream, EVENTS, document={})
    assert read(made) == stream
    for target, endpoint in (
        (b"/agents/sessions/sess_1", "agents/sessions/{id}"),
        (b"/agents/environments/env_1", "agents/environments/{id}"),
    ):
        assert isinstance(objects.ask("alice", b"GET", target, endpoint), ProxyResponse)
        assert isinstance(objects.ask("bob", b"GET", target, endpoint), NoSuchObject)


def test_sessions_that_an_automation_has_opened_are_its_owners(objects):
    """They are named by its invocations only."""
    objects.make("alice", "auto_1", "agents/automations")
    listed = b'{"object":"list","data":[{"id":"inv_1","session_id":"sess_1"}]}'
    target = b"/agents/automations/auto_1/invocations"
    objects.ask("alice", b"GET", target, "agents/automations/{id}/invocations", listed)
    assert isinstance(
        objects.ask("alice", b"GET", b"/agents/sessions/sess_1", "agents/sessions/{id}"), ProxyResponse
    )


def test_a_call_belongs_to_whoever_takes_it(objects):
    """A webhook told its id; the first who accepts it, or who made it, has it."""
    accept = (b"POST", b"/realtime/calls/rtc_1/accept", "realtime/calls/{id}/accept")
    hangup = (b"POST", b"/realtime/calls/rtc_1/hangup", "realtime/calls/{id}/hangup")
    assert isinstance(objects.ask("alice", *accept, document={"type": "realtime"}), ProxyResponse)
    assert isinstance(objects.ask("bob", *hangup), NoSuchObject)
    assert isinstance(objects.ask("alice", *hangup), ProxyResponse)
    sdp = (b"Content-Type", b"application/sdp"), (b"Location", b"/v1/realtime/calls/rtc_2")
    objects.ask("bob", b"POST", b"/realtime/calls", "realtime/calls", b"v=0", *sdp, status=201)
    other = (b"POST", b"/realtime/calls/rtc_2/hangup", "realtime/calls/{id}/hangup")
    assert isinstance(objects.ask("alice", *other), NoSuchObject)
    joins = (b"GET", b"/realtime?call_id=rtc_1", "realtime")
    assert isinstance(objects.ask("bob", *joins, upgrade=True), NoSuchObject)
    assert isinstance(objects.ask("alice", *joins, upgrade=True), ProxyResponse)
    voice = {"audio": {"output": {"voice": {"id": "voice_9"}}}}
    assert isinstance(objects.ask("alice", *accept, document=voice), NoSuchObject)


def test_names_of_built_in_voices_are_no_objects(objects):
    """Nor are words that only agents use, in other requests."""
    for document in ({"voice": "alloy"}, {"metadata": {"session_id": "s", "agent_id": "a"}}):
        answer = objects.ask("alice", b"POST", b"/audio/speech", "audio/speech", document=document)
        assert isinstance(answer, ProxyResponse)


@pytest.mark.parametrize(
    ("source", "passes"),
    [
        ({"type": "stored_completions", "model": "gpt-4o"}, False),
        ({"Type": "responses"}, False),
        ({"type": "file_content", "content": []}, True),
    ],
)
def test_an_evaluation_reads_no_other_keys_answers(objects, source, passes):
    """By filters it could take whatever the upstream has stored; an administrator may."""
    objects.make("alice", "eval_1", "evals")
    run = (b"POST", b"/evals/eval_1/runs", "evals/{id}/runs")
    document = {"data_source": {"type": "completions", "Source": source}}
    assert isinstance(objects.ask("alice", *run, document=document), EndpointNotAllowed) is not passes
    assert isinstance(objects.ask("root", *run, document=document), ProxyResponse)
