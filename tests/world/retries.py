"""Programs with the real `openai` SDK whose time-out is shorter than the answer, and the upstream that they ask."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import httpx2
import openai

from world.upstream import Call

KEY = "sk-program-0123456789"
ANSWER_S = 0.7
"""The silence before each answer."""
TIMEOUT_S = 0.45
RETRIES = 40
"""More than any program needs: a daemon that is killed again and again is away for most of the time."""


def text_of(number: int) -> str:
    """Return the answer to a question: what was asked, and bytes that end in the middle of characters."""
    return f"answer to question {number}: " + "äöü€𝄞" * (number % 40)


class Model:
    """The upstream's script; `calls` and `answered` count by the number of the question."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        """Answers that were sent whole, to a proxy that may have died meanwhile."""
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        document = json.loads(call.read_body())
        number = int(document["messages"][0]["content"].rpartition(" ")[2])
        with self._lock:
            self.calls[number] += 1
        time.sleep(ANSWER_S)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        head = {"id": f"chatcmpl-{number}", "created": 1, "model": document["model"]}
        if document.get("stream"):
            self._stream(call, {**head, "object": "chat.completion.chunk"}, text_of(number), usage)
        else:
            message = {"role": "assistant", "content": text_of(number)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            call.reply_json({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        with self._lock:
            self.answered[number] += 1

    @staticmethod
    def _stream(call: Call, head: Mapping[str, object], text: str, usage: Mapping[str, int]) -> None:
        call.start_stream()
        for at in range(0, len(text), 20):
            delta = {"index": 0, "delta": {"content": text[at : at + 20]}, "finish_reason": None}
            call.chunk(b"data: " + json.dumps({**head, "choices": [delta]}).encode() + b"\n\n")
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        call.chunk(b"data: " + json.dumps({**head, "choices": [end], "usage": usage}).encode() + b"\n\n")
        call.chunk(b"data: [DONE]\n\n")
        call.end_stream()


class Programs:
    """Threads that ask the questions 0 to `least` and more until `join`, odd ones as streams, one after the other each."""

    def __init__(self, base_url: str, least: int, at_once: int, trusted: Path | None) -> None:
        self.got: dict[int, float] = {}
        """The questions whose answer came whole and right, and when."""
        self.wrong: list[str] = []
        self.broken: Counter[int] = Counter()
        """Streams that a death cut in the middle: no SDK repeats those by itself, the program asks anew."""
        self.asked = 0
        self._least = least
        self._is_enough = False
        self._lock = threading.Lock()
        self._base_url = base_url
        self._verify: ssl.SSLContext | bool = (
            True if trusted is None else ssl.create_default_context(cafile=str(trusted))
        )
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(at_once)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Ask no further questions than `least`, and wait for all answers."""
        self._is_enough = True
        for thread in self._threads:
            thread.join(600.0)
            assert not thread.is_alive()

    def _run(self) -> None:
        with openai.OpenAI(
            api_key=KEY,
            base_url=self._base_url,
            timeout=TIMEOUT_S,
            max_retries=RETRIES,
            http_client=httpx2.Client(verify=self._verify, trust_env=False),
        ) as client:
            while True:
                with self._lock:
                    if self._is_enough and self.asked >= self._least:
                        return
                    number = self.asked
                    self.asked += 1
                try:
                    self._ask(client, number)
                except Exception as error:
                    with self._lock:
                        self.wrong.append(f"question {number}: {error!r}")

    def _ask(self, client: openai.OpenAI, number: int) -> None:
        while True:
            try:
                text = self._stream(client, number) if number % 2 else self._whole(client, number)
                break
            except (httpx2.TransportError, openai.APIConnectionError):
                with self._lock:
                    self.broken[number] += 1
                    if self.broken[number] > 20:
                        raise
        if text != text_of(number):
            raise AssertionError(f"{text!r} is not {text_of(number)!r}")
        with self._lock:
            self.got[number] = time.time()

    @staticmethod
    def _whole(client: openai.OpenAI, number: int) -> str | None:
        answer = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": f"question {number}"}]
        )
        return answer.choices[0].message.content

    @staticmethod
    def _stream(client: openai.OpenAI, number: int) -> str:
        chunks = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": f"question {number}"}], stream=True
        )
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
