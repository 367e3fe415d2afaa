"""What one attempt at one of several upstreams came to, and the names of models there.

Imports messages, peeked_body and core; used by the routing stage.
"""
