"""Limits of requests, tokens and concurrency by key, kept in this process or in Redis."""
