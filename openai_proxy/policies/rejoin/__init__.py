"""Calls that go on when their client has left, and retries that join them."""
