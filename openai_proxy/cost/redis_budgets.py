"""A store of budgets in Redis, shared by several machines; times are Redis's own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from twisted.internet.defer import Deferred

from ..net.redis_client import RedisClient
from .budget import Account, Balance, Need, PendingCall
from .budget_store import LEASE_S, PENDING_S, Judgement

SCRIPT = rb"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local owner, lease_s, kept_s = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local spent, held = tonumber(ARGV[2]), tonumber(ARGV[3])
local fields = redis.call('HGETALL', KEYS[1])
local value = {}
for i = 1, #fields, 2 do value[fields[i]] = tonumber(fields[i + 1]) end
local others_spent, others_held = 0, 0
for name, amount in pairs(value) do
  local kind, whose = string.sub(name, 1, 1), string.sub(name, 3)
  if whose ~= owner then
    if kind == 's' then others_spent = others_spent + amount end
    if kind == 'h' and (value['u:' .. whose] or 0) > now then others_held = others_held + amount end
  end
end
local reply = {string.format('%.17g', others_spent), string.format('%.17g', others_held)}
for i = 6, #ARGV, 2 do
  local wanted, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local taken = spent + held + others_spent + others_held
  wanted = math.min(wanted, limit)
  if taken < limit and taken + wanted <= limit * (1 + 1e-9) then
    held = held + wanted
    reply[#reply + 1] = string.format('%.17g', wanted)
  else
    reply[#reply + 1] = ''
  end
end
if spent > 0 or held > 0 or value['s:' .. owner] then
  redis.call('HSET', KEYS[1], 's:' .. owner, string.format('%.17g', spent),
    'h:' .. owner, string.format('%.17g', held), 'u:' .. owner, string.format('%.6f', now + lease_s))
  redis.call('EXPIRE', KEYS[1], kept_s)
end
return reply
"""
"""The rules of `cost.budget.admit`. ARGV: owner, its spent and held, lease and
time to live in seconds, then usd and limit of each need. Replies with the
others' spent and held, then with what was granted, empty if refused."""

HOLD = rb"""
local time = redis.call('TIME')
local until_s = time[1] + tonumber(ARGV[4])
redis.call('HSET', KEYS[2], 's:' .. ARGV[1], '0', 'h:' .. ARGV[1], ARGV[2], 'u:' .. ARGV[1], string.format('%.6f', until_s))
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
return 1
"""
"""Sets money aside for a call. KEYS: the call, the account. ARGV: the call as an owner, its usd, what
`find` is to return, the seconds until it is forgotten, the account's time to live."""

TAKE = rb"""
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], 's:' .. ARGV[1], 'h:' .. ARGV[1], 'u:' .. ARGV[1])
local spent = tonumber(redis.call('HGET', KEYS[2], 's:' .. ARGV[2]) or '0') + tonumber(ARGV[3])
redis.call('HSET', KEYS[2], 's:' .. ARGV[2], string.format('%.17g', spent))
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""
"""Charges a call to a process, once. KEYS: the call, the account. ARGV: the call and the process as owners,
the cost, the account's time to live."""

_KEPT_S = 40 * 86400
"""Longer than any period."""


class RedisBudgets:
    """A `BudgetStore`: one hash for each account, three fields in it for each process.

    Whoever made the client starts and stops it.
    """

    def __init__(self, client: RedisClient, prefix: str = "openai-proxy:budget") -> None:
        self._client = client
        self._prefix = prefix
        self._owner = ""

    def start(self) -> None:
        """Choose a name, after the fork: each run of a process is a separate owner."""
        self._owner = secrets.token_hex(8)

    def judge(self, account: Account, own: Balance, needs: Sequence[Need]) -> Deferred[Judgement]:
        amounts = [repr(float(amount)) for need in needs for amount in (need.usd, need.limit_usd)]
        asked: Deferred[Any] = self._client.call(
            "EVAL",
            SCRIPT,
            1,
            self._account(account),
            self._owner,
            repr(float(own.spent_usd)),
            repr(float(own.held_usd)),
            repr(LEASE_S),
            _KEPT_S,
            *amounts,
        )
        return asked.addCallback(_judgement)

    def _account(self, account: Account) -> str:
        return f"{self._prefix}:{{{account.key}}}:{account.period}"

    def _call(self, name: str) -> str:
        return f"{self._prefix}:call:{name}"

    def hold(self, call: PendingCall) -> Deferred[Any]:
        account = call.account
        assert account is not None  # money is reserved only for calls that a budget pays for
        found = orjson.dumps([account.key, account.period, call.usd])
        keys = self._call(call.name), self._account(account)
        owner = f"call:{call.name}"
        return self._client.call(
            "EVAL", HOLD, 2, *keys, owner, repr(float(call.usd)), found, int(PENDING_S), _KEPT_S
        )

    def find(self, name: str) -> Deferred[PendingCall | None]:
        asked: Deferred[Any] = self._client.call("GET", self._call(name))
        return asked.addCallback(lambda found: _pending(name, found))

    def take(self, call: PendingCall, cost_usd: float) -> Deferred[bool]:
        assert call.account is not None
        keys = self._call(call.name), self._account(call.account)
        asked: Deferred[Any] = self._client.call(
            "EVAL", TAKE, 2, *keys, f"call:{call.name}", self._owner, repr(float(cost_usd)), _KEPT_S
        )
        return asked.addCallback(bool)

    def is_first(self, account: Account, name: str) -> Deferred[bool]:
        asked: Deferred[Any] = self._client.call(
            "SET", f"{self._prefix}:told:{name}", "1", "NX", "EX", _KEPT_S
        )
        return asked.addCallback(bool)


def _pending(name: str, found: bytes | None) -> PendingCall | None:
    if found is None:
        return None
    key, period, usd = orjson.loads(found)
    return PendingCall(name, Account(key, period), usd)


def _judgement(reply: list[bytes]) -> Judgement:
    spent_usd, held_usd, *grants = reply
    return [float(granted) if granted else None for granted in grants], Balance(
        float(spent_usd), float(held_usd)
    )
