"""Tell Twisted of the observer. No `__init__.py` beside this file: see twisted.plugin."""

from slow_requests import SlowRequestsFactory

slow_requests = SlowRequestsFactory()
