"""The Lua script that keeps limits in Redis: it is atomic, and uses Redis's clock.

The same rules as `policies.limits.token_bucket` and `policies.limits.rules.maybe_refusal`.
"""

SCRIPT = rb"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local operation = ARGV[1]
if operation == 'renew' then
  for i = 3, #ARGV do redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[i]) end
  redis.call('EXPIRE', KEYS[2], math.ceil(ARGV[2]) + 1)
  return {}
end
local rpm, tpm, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cost, slot, lease_s = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local stored = redis.call('HMGET', KEYS[1], 'requests', 'model_tokens', 'updated', 'rpm', 'tpm')
local since = math.max(0, now - (tonumber(stored[3]) or now))
local function level(value, limit, old_limit)
  if limit < 0 then return math.huge end
  local taken = (tonumber(old_limit) or limit) - (tonumber(value) or tonumber(old_limit) or limit)
  return math.min(limit, limit - taken + since * limit / 60)
end
local requests = level(stored[1], rpm, stored[4])
local model_tokens = level(stored[2], tpm, stored[5])
local function write(requests, model_tokens)
  local empty_s = 0
  local fields = {'updated', string.format('%.6f', now)}
  local function add(name, value, limit_name, limit)
    if limit >= 0 then
      for _, item in ipairs({name, string.format('%.17g', value), limit_name, limit}) do
        fields[#fields + 1] = item
      end
      empty_s = math.max(empty_s, (limit - value) * 60 / limit)
    end
  end
  add('requests', requests, 'rpm', rpm)
  add('model_tokens', model_tokens, 'tpm', tpm)
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('EXPIRE', KEYS[1], math.ceil(math.min(empty_s, 86400)) + 60)
end
if operation == 'cancel' then
  if most >= 0 then redis.call('ZREM', KEYS[2], slot) end
  if rpm >= 0 or tpm >= 0 then write(math.min(rpm, requests + 1), math.min(tpm, model_tokens + cost)) end
  return {}
end
if operation == 'finish' then
  if most >= 0 then redis.call('ZREM', KEYS[2], slot) end
  if cost ~= 0 and tpm >= 0 then write(requests, math.min(tpm, model_tokens - cost)) end
  return {}
end
local running = 0
if most >= 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  running = redis.call('ZCARD', KEYS[2])
end
local admitted = requests + 1e-6 >= 1 and (cost == 0 or model_tokens + 1e-6 >= cost) and (most < 0 or running < most)
if admitted then
  if rpm >= 0 or tpm >= 0 then write(requests - 1, model_tokens - cost) end
  if most >= 0 then
    redis.call('ZADD', KEYS[2], now + lease_s, slot)
    redis.call('EXPIRE', KEYS[2], math.ceil(lease_s) + 1)
  end
end
return {admitted and 1 or 0, string.format('%.17g', requests), string.format('%.17g', model_tokens), running}
"""
"""ARGV: `admit`, `finish` or `cancel`, the three limits (-1 is off), cost (of `finish`: the
difference to charge; of `cancel`: what was reserved), slot, lease in seconds; or `renew`, lease, slots."""
