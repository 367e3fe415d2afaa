"""Questions to the mock upstream, and its replies read."""

import json

from openai_proxy.upstream.mock.answers import Question, answer
from openai_proxy.wire.event_data import event_data

HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(endpoint, document=None, method="POST", target=None, **fields):
    body = b"" if document is None else json.dumps(document).encode()
    question = Question(
        method, endpoint, target or b"/" + endpoint.encode(), body, document, estimate=count, **fields
    )
    return answer(question)


def count(body, document):
    return -(-len(body) // 4)


def whole(reply):
    return reply.data if reply.pieces is None else b"".join(data for _, data in reply.pieces)


def read(reply):
    assert reply.status == 200, reply
    return json.loads(whole(reply))


def events(reply):
    texts, torn = event_data(whole(reply), True)
    assert torn is None
    assert texts[-1] == b"[DONE]" or json.loads(texts[-1])["type"]
    return [json.loads(text) for text in texts if text != b"[DONE]"]


def error(reply):
    document = json.loads(reply.data)
    assert set(document["error"]) == {"message", "type", "param", "code"}
    return reply.status, document["error"]


def chat(**members):
    return {"model": "mock-text", "messages": HELLO, **members}
