"""Where the levels of rate limits are kept: in this process or in Redis.

`store` says what a store is; `embedded` and `redis_store` are the two.
Imported by the composition root; imports core and the Redis client alone.
"""
