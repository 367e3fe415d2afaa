"""Calls that continue after their client has left, and retries that join them."""
