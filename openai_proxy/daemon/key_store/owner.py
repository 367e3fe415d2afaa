"""The report for the holder of a client key: `GET /key`.

Answered also when the key's budget is spent or it is limited, because that is
when its holder asks. Counts only against a bucket of its own.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from ...cost.budget import Account, Balance, Budget, day_name, group_name
from ...cost.budget_words import period_end
from ...cost.build import Spending
from ...cost.report import usage_row
from ...cost.state_file import StateFileClosed
from ...cost.totals import UsageTotals
from ...exchange.access_errors import AddressNotAllowed, InvalidKey, MissingCredentials
from ...exchange.client_address import parse_address, parse_network
from ...exchange.errors import KeyStoreUnavailable, RequestLimitReached
from ...exchange.record import HeaderPairs
from ...policies.authenticate.credentials import find_client_digest, find_credential
from ...policies.authenticate.keyring import Keyring
from ...policies.authorize.build import default_endpoints
from ...policies.limits.build import limits_by_key
from ...policies.limits.headers import refusal_headers
from ...policies.limits.rules import Levels, Limits, maybe_refusal
from ...policies.limits.store import LimitStore
from ...settings import ClientKey, Settings, client_keys
from .documents import moment

REPORTS_PER_MINUTE = Limits(requests_per_minute=60)
_BUCKET = "\x1fkey-page:"
"""The prefix of this page's buckets: it contains a control character, so no key has such a name."""


class KeyReport:
    """Makes the reports for the holders of keys.

    The present configuration is read for each report. `knows_all` says whether
    all stored keys are loaded. `levels` is the store of the keys' limits,
    `buckets` that of this page's limits.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        keyring: Callable[[], Keyring | None],
        spending: Callable[[], Spending],
        totals: UsageTotals,
        levels: Callable[[], LimitStore],
        buckets: LimitStore,
        wall_clock: Callable[[], float] = time.time,
        knows_all: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._keyring = keyring
        self._spending = spending
        self._totals = totals
        self._levels = levels
        self._buckets = buckets
        self._wall_clock = wall_clock
        self._knows_all = knows_all

    async def answer(self, headers: HeaderPairs, client_address: str | None, days: int) -> dict[str, Any]:
        """Return the document for the key that `headers` show; raises the ProxyError that refuses it."""
        name, now = self._authenticate(headers), self._wall_clock()
        settings = self._settings()
        key = next((each for each in client_keys(settings) if each.name == name), None)
        if key is None:  # revoked just now
            raise InvalidKey
        _check_address(key, client_address)
        await self._count(name)
        endpoints = key.endpoints if key.endpoints is not None else default_endpoints(key)
        return {
            "object": "key",
            "name": name,
            "group": key.group,
            "expires": None if key.expires is None else moment(key.expires.timestamp()),
            "models": None if key.models is None else list(key.models),
            "endpoints": list(endpoints),
            "limits": await self._limits(name),
            "budgets": await self._budgets(name, now),
            "usage": await self._usage(name, now, days),
        }

    def _authenticate(self, headers: HeaderPairs) -> str:
        keyring = self._keyring()
        digest = find_client_digest(headers)
        if digest is None or keyring is None:
            raise InvalidKey if find_credential(headers) else MissingCredentials
        try:
            return keyring.find(digest, self._wall_clock()).name
        except InvalidKey:
            if not self._knows_all():  # it may be in a store that has not been read yet
                raise KeyStoreUnavailable from None
            raise

    async def _count(self, name: str) -> None:
        """Charge the page's own bucket; raises RequestLimitReached if it is empty."""
        admission = await self._buckets.admit(_BUCKET + name, REPORTS_PER_MINUTE, 0.0, "")
        if admission.admitted:
            self._buckets.finish(admission, 0.0)
            return
        refusal = maybe_refusal(REPORTS_PER_MINUTE, admission.levels, 0.0)
        assert refusal is not None  # the store has just refused
        raise RequestLimitReached(
            "This page of openai-proxy answers 60 times a minute for each key; your requests to the API are not"
            " counted here.",
            headers=tuple(refusal_headers(REPORTS_PER_MINUTE, admission.levels, refusal)),
        )

    async def _limits(self, name: str) -> dict[str, Any]:
        limits = limits_by_key(self._settings())[name]
        levels = Levels()
        if limits:
            # with 0 running requests allowed, nothing is admitted: this call only reads the levels
            nobody = evolve(limits, concurrent_requests=0)
            levels = (await self._levels().admit(name, nobody, 0.0, "")).levels
        return {
            "requests": _bucket(limits.requests_per_minute, levels.requests),
            "tokens": _bucket(limits.model_tokens_per_minute, levels.model_tokens),
            "concurrent": _slots(limits.concurrent_requests, levels.running),
        }

    async def _budgets(self, name: str, now: float) -> list[dict[str, Any]]:
        spending = self._spending()
        if spending.ledger is None:
            return []
        own = spending.budgets.get(name)
        found = []
        for key, budget in (*([] if own is None else [(name, own)]), *spending.groups.get(name, ())):
            account = budget.account(key, now)
            balance = await spending.ledger.balance(account)
            found.append(_budget(account, budget, balance))
        return found

    async def _usage(self, name: str, now: float, days: int) -> Sequence[dict[str, Any]]:
        first = day_name(now - (days - 1) * 86400)
        try:
            rows = await self._totals.read(first, day_name(now), name)
        except (sqlite3.Error, StateFileClosed):
            return []
        return [usage_row(key, totals) for key, totals in rows]


def _check_address(key: ClientKey, client_address: str | None) -> None:
    if not key.addresses:
        return
    address = parse_address(client_address) if client_address is not None else None
    if address is None or not any(address in parse_network(text) for text in key.addresses):
        raise AddressNotAllowed


def _bucket(limit: int | None, level: float) -> dict[str, Any] | None:
    if limit is None:
        return None
    level = min(level, float(limit))
    reset_s = (limit - level) * 60.0 / limit
    return {"limit": limit, "remaining": max(0, int(level + 1e-6)), "reset_s": round(reset_s, 3)}


def _slots(limit: int | None, running: int) -> dict[str, Any] | None:
    if limit is None:
        return None
    return {"limit": limit, "remaining": max(0, limit - running), "reset_s": None}


def _budget(account: Account, budget: Budget, balance: Balance) -> dict[str, Any]:
    group = group_name(account.key)
    spent_usd, held_usd = balance.spent_usd, balance.held_usd
    return {
        "of": "key" if group is None else "group",
        "name": account.key if group is None else group,
        "period": account.period,
        "budget_usd": budget.limit_usd,
        "spent_usd": round(spent_usd, 9),
        "reserved_usd": round(held_usd, 9),
        "remaining_usd": round(max(0.0, budget.limit_usd - spent_usd - held_usd), 9),
        "resets_at": period_end(account.period),
    }
