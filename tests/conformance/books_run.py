#!/usr/bin/env python3
"""Four runs of 600 mixed requests: all books of the daemon must agree, with each other and with the upstream's.

    .venv/bin/python tests/conformance/books_run.py [REQUESTS] [SEED]

Tenants with budgets, cache, retries, think removal, exchange log; two
upstreams, of which the first sometimes fails for two models, one of them
unknown to the second; one and two workers, the embedded stores and Redis.
Needs redis-server. About two minutes; prints the figures and exits with 1
if anything disagrees.
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from booked_upstream import THOUGHT, Books, usage, word_of
from prometheus_client.parser import text_string_to_metric_families as parsed
from world.client import Client, Response
from world.daemon import Daemon
from world.exchange_lines import exchange_lines
from world.pages import get_json, metrics
from world.requests import post
from world.services import RedisServer
from world.upstream import Upstream
from world.waiting import eventually
from world.world import UPSTREAMS

TENANTS = {"ann": 100.0, "ben": 100.0, "cid": 100.0, "dan": 0.01}
"""Budgets in US dollars; the last one is spent during the run."""
PRICES = {  # dollars for a million tokens: input, output, cached input
    "gpt-4o": (2.5, 10.0, 1.25),
    "gpt-4o-mini": (0.15, 0.6, 0.075),
    "thinker": (1.0, 4.0, 0.5),
    "only-first": (3.0, 9.0, 1.0),
    "text-embedding-3-small": (0.02, 0.0, 0.02),
}
SICK = {"gpt-4o": 0.4, "only-first": 0.3}
RUNS = ((1, "memory:"), (2, "memory:"), (1, "redis"), (2, "redis"))
KINDS = ("chat", "chat", "stream", "stream", "cached", "cached", "embedding", "response", "leaver")
THREADS = 6
CHATS = "/v1/chat/completions"
LABELS = ("endpoint", "model", "kind", "status", "outcome", "result")


def toml(first: str, second: str, cache: str) -> str:
    """Return the configuration of a run."""
    text = f'[cache]\nurl = "{cache}"\n[think]\nmode = "strip"\n'
    text += UPSTREAMS.format(first, second, 1)
    for name, budget in TENANTS.items():
        text += f'[[keys]]\nname = "{name}"\nkey = "{name}-key"\nbudget_usd = {budget}\n'
    for model, (read, written, kept) in PRICES.items():
        text += (
            f'[[cost.prices]]\nmatch = "{model}"\ninput_usd_per_million = {read}\n'
            f"output_usd_per_million = {written}\ncached_usd_per_million = {kept}\n"
        )
    return text


def true_cost(word: str, model: str, embedding: bool) -> float:
    """Return what an answer to that request costs, computed by hand."""
    read_usd, written_usd, kept_usd = PRICES[model]
    counts = usage(int(word[1:].partition("-")[0]), False)
    read, output = counts["prompt_tokens"], counts["completion_tokens"]
    if embedding:
        return read * read_usd / 1e6
    kept = counts["prompt_tokens_details"]["cached_tokens"]
    return ((read - kept) * read_usd + kept * kept_usd + output * written_usd) / 1e6


class Crowd:
    """Clients of all tenants; `wrong` says what they should not have got, `statuses` counts."""

    def __init__(self, port: int, count: int, seed: int, pause_s: float = 0.0) -> None:
        dice = random.Random(seed)
        chats = [model for model in PRICES if not model.startswith("text-")]
        self._left = [
            (number, dice.choice(list(TENANTS)), dice.choice(KINDS), dice.choice(chats))
            for number in range(count)
        ]
        self._port = port
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self.wrong: list[str] = []
        self.statuses: collections.Counter[int | None] = collections.Counter()

    def run(self) -> None:
        threads = [threading.Thread(target=self._visit) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit(self) -> None:
        client = Client(self._port)
        while True:
            with self._lock:
                if not self._left:
                    break
                number, who, kind, model = self._left.pop()
            time.sleep(self._pause_s)
            try:
                if kind == "leaver":
                    self._leave(number, who, model)
                else:
                    self._ask(client, number, who, kind, model)
            except Exception as error:
                self._complain(f"{number} {who} {kind} {model}: {error!r}")
                client.close()
                client = Client(self._port)
        client.close()

    def _complain(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)

    def _leave(self, number: int, who: str, model: str) -> None:
        """Begin a stream, and go after its first event."""
        with Client(self._port) as client:
            client.send(post(f"{who}-key", _chat(f"w{number}-{who}", model, stream=True)))
            status = int(client.read_until(b"\r\n\r\n")[9:12])
            if status == 200:
                client.read_until(b"data: ")
        self._count(status)

    def _count(self, status: int | None) -> None:
        with self._lock:
            self.statuses[status] += 1

    def _ask(self, client: Client, number: int, who: str, kind: str, model: str) -> None:
        word = f"w{number % 12 if kind == 'cached' else number}-{who}"
        lines = ["x-stainless-retry-count: 0"] if number % 5 == 0 else []
        client.send(_request(kind, word, who, model, number, lines))
        got = client.response()
        self._count(got.status)
        if THOUGHT.encode() in got.body:
            raise AssertionError(f"a thought: {got.body[:300]!r}")
        if got.status == 200 and got.whole:
            text = _text_of(kind, got, stream=number % 2 == 0)
            if text != f"re {word}" and not (b'"error"' in got.body and model == "only-first"):
                raise AssertionError(f"{text!r} is not re {word}: {got.body[:300]!r}")
        elif not _excused(got, who, model):
            raise AssertionError(f"{got.status} whole={got.whole} {got.body[:300]!r}")


def _excused(got: Response, who: str, model: str) -> bool:
    """Say whether this failure is the upstream's own, or the end of a budget."""
    if not got.whole:
        return False
    code = json.loads(got.body)["error"]["code"]
    if who == "dan" and got.status == 429 and code == "insufficient_quota":
        return True
    return model == "only-first" and got.status in (500, 502, 529, 429) and code is None


def _chat(word: str, model: str, **members: object) -> dict[str, object]:
    return {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": word}], **members}


def _request(kind: str, word: str, who: str, model: str, number: int, lines: list[str]) -> bytes:
    key = f"{who}-key"
    if kind == "embedding":
        document: dict[str, object] = {"model": "text-embedding-3-small", "input": word}
        return post(key, document, "/v1/embeddings", lines)
    if kind == "response":
        document = {"model": model, "input": word, "max_output_tokens": 60, "stream": number % 2 == 0}
        return post(key, document, "/v1/responses", lines)
    if kind == "cached":
        return post(key, _chat(word, "gpt-4o-mini", temperature=0, seed=1), CHATS, lines)
    return post(key, _chat(word, model, stream=kind == "stream"), CHATS, lines)


def _text_of(kind: str, got: Response, *, stream: bool) -> str | None:
    if kind == "embedding":
        return str(json.loads(got.body)["data"][0]["echo"])
    if kind == "stream" or (kind == "response" and stream):
        return _stream_text(got.body)
    document = json.loads(got.body)
    if kind == "response":
        return str(document["output"][0]["content"][0]["text"])
    return str(document["choices"][0]["message"]["content"])


def _stream_text(body: bytes) -> str:
    text = ""
    for line in body.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event.get("type") == "response.output_text.delta":
            text += event["delta"]
        for choice in event.get("choices") or ():
            text += choice["delta"].get("content", "")
    return text


class Ledger:
    """Everything that the daemon reports about a run, compared."""

    def __init__(self, daemon: Daemon, books: list[Books], count: int) -> None:
        self.found: list[str] = []
        eventually(lambda: len(exchange_lines(daemon.directory / "logs")) >= count, 20)
        self.lines = exchange_lines(daemon.directory / "logs")
        self._books = books
        self.port = daemon.port
        self._same("lines of the exchange log", len(self.lines), count)
        self._same("their ids", len({line["id"] for line in self.lines}), count)
        self._calls()
        eventually(lambda: self._agreed(), 10)
        self._money()
        self._metrics()
        self._truth()

    def _same(self, what: str, found: Any, true: Any) -> None:
        fits = abs(found - true) < 1e-6 if isinstance(true, float) else found == true
        if not fits:
            self.found.append(f"{what}: {found!r}, and not {true!r}")

    def _calls(self) -> None:
        attempts = sum(line["attempts"] for line in self.lines)
        self._same("attempts", attempts, sum(book.calls for book in self._books))

    def _by(self, member: str) -> dict[str, float]:
        sums: dict[str, float] = collections.defaultdict(float)
        for line in self.lines:
            sums[line[member]] += line["cost_usd"] or 0.0
        return sums

    def _agreed(self) -> bool:
        usage = get_json(self.port, "/admin/usage")
        spent = sum(each["spent_usd"] for each in usage["budgets"])
        held = sum(each["reserved_usd"] for each in usage["budgets"])
        true = sum(self._by("key").values())
        return held == 0 and abs(spent - true) < 1e-6 and abs(usage["total"]["cost_usd"] - true) < 1e-6

    def _money(self) -> None:
        usage = get_json(self.port, "/admin/usage")
        by_key, by_model = self._by("key"), self._by("model")
        for each in usage["budgets"]:
            self._same(f"budget of {each['key']}", each["spent_usd"], float(by_key[each["key"]]))
            if each["spent_usd"] > each["budget_usd"]:
                self.found.append(f"budget of {each['key']} is overspent: {each}")
            self._same(f"reserved by {each['key']}", each["reserved_usd"], 0.0)
        for each in usage["by_key"]:
            self._same(f"usage of {each['key']}", each["cost_usd"], float(by_key[each["key"]]))
        for each in usage["by_model"]:
            self._same(f"usage of {each['model']}", each["cost_usd"], float(by_model[each["model"]]))
        counted = [line for line in self.lines if line["outcome"] not in ("rejected", "limit")]
        self._same("requests in /admin/usage", usage["total"]["requests"], len(counted))
        self._same(
            "cached in /admin/usage",
            usage["total"]["cached_requests"],
            sum(bool(line["cached"]) for line in self.lines),
        )
        self.total_usd = usage["total"]["cost_usd"]

    def _metrics(self) -> None:
        samples: dict[str, dict[tuple[str, ...], float]] = collections.defaultdict(dict)
        for family in parsed(metrics(self.port)):
            for sample in family.samples:
                labels = tuple(sample.labels[name] for name in LABELS if name in sample.labels)
                samples[sample.name][labels] = samples[sample.name].get(labels, 0) + sample.value
        for model, cost_usd in self._by("model").items():
            shown = samples["openai_proxy_cost_usd_total"].get((model,), 0.0)
            self._same(f"cost metric of {model}", shown, float(cost_usd))
        seen: collections.Counter[tuple[str, ...]] = collections.Counter()
        tokens: collections.Counter[tuple[str, str]] = collections.Counter()
        for line in self.lines:
            status = line["response"]["status_code"]
            seen[line["model"], str(status or 0), line["outcome"]] += 1
            used = line["usage"]
            if used and not line["cached"]:
                for kind in ("input", "output"):
                    tokens[line["model"], kind] += used[f"{kind}_tokens"]
        told_requests: collections.Counter[tuple[str, ...]] = collections.Counter()
        for labels, value in samples["openai_proxy_requests_total"].items():
            told_requests[labels[1:]] += int(value)
        self._same("request metrics", told_requests, seen)
        for labels, count in tokens.items():
            shown = samples["openai_proxy_tokens_total"].get(labels, 0.0)
            self._same(f"token metric {labels}", int(shown), count)
        hits = sum(
            value
            for labels, value in samples["openai_proxy_cache_requests_total"].items()
            if labels[1] in ("hit", "shared")
        )
        self._same("cache metric", int(hits), sum(bool(line["cached"]) for line in self.lines))

    def _truth(self) -> None:
        """Compare each line with what its answer cost, and all of them with what the upstreams gave."""
        given: collections.Counter[str] = collections.Counter()
        for line in self.lines:
            if line["outcome"] == "client_gone" or line["response"]["status_code"] != 200:
                continue
            document = line["request"]["body"]
            word = word_of(document)
            failed = line["outcome"] != "complete"
            free = line["cached"] or failed
            given[word] += not free
            embedding = line["request"]["path"].endswith("/embeddings")
            true = 0.0 if free else true_cost(word, document["model"], embedding)
            self._same(f"cost of {word} ({line['outcome']})", line["cost_usd"] or 0.0, true)
            if THOUGHT in json.dumps(line["response"]):
                self.found.append(f"a thought in the log of {word}")
        left = {word_of(x["request"]["body"]) for x in self.lines if x["outcome"] == "client_gone"}
        for word in {word for book in self._books for word in book.answered} - left:
            self._same(
                f"answers to {word}", given[word], sum(book.answered.get(word, 0) for book in self._books)
            )


def run(directory: Path, workers: int, cache: str, count: int, seed: int) -> list[str]:
    """Do one run, print its figures and return what was wrong."""
    books = [Books(SICK, seed=seed), Books({}, frozenset({"only-first"}), seed=seed)]
    with contextlib.ExitStack() as stack:
        if cache == "redis":
            redis = RedisServer()
            redis.start()
            stack.callback(redis.kill)
            cache = redis.url
        upstreams = [Upstream(), Upstream()]
        for upstream, book in zip(upstreams, books, strict=True):
            upstream.script = book
            stack.callback(upstream.close)
        file = directory / "proxy.toml"
        file.write_text(toml(upstreams[0].url, upstreams[1].url, cache))
        daemon = Daemon(
            directory,
            upstreams[0].url,
            env={
                "OPENAI_API_BASE": "",
                "RETRY__MAX_RETRIES": "3",
                "WORKERS": str(workers),
                "OBSERVERS": "console exchange-log:dir=logs",
            },
            options=("--config", str(file)),
        )
        stack.callback(daemon.stop)
        started = time.monotonic()
        crowd = Crowd(daemon.port, count, seed)
        crowd.run()
        took_s = time.monotonic() - started
        ledger = Ledger(daemon, books, count)
        found = [*crowd.wrong, *ledger.found, *daemon.defects]
        found += [repr(error) for upstream in upstreams for error in upstream.errors]
        statuses = dict(sorted(crowd.statuses.items(), key=str))
        calls = [book.calls for book in books]
        outcomes = dict(collections.Counter(line["outcome"] for line in ledger.lines))
        print(
            f"workers {workers}, {cache}: {count} requests in {took_s:.0f} s; statuses {statuses}, "
            f"outcomes {outcomes}, upstream calls {calls}, {books[0].failures} of them failed, "
            f"{ledger.total_usd:.6f} USD; wrong: {len(found)}"
        )
        for each in found[:20]:
            print(" ", each[:600])
    return found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    wrong = 0
    for number, (workers, cache) in enumerate(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            wrong += len(run(Path(directory), workers, cache, count, seed + number))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
