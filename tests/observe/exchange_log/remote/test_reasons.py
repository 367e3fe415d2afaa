"""Errors of stores are logged without what their libraries put into them."""

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from openai_proxy.observe.exchange_log.remote.reasons import reason_of


def answered(status, code):
    error = HttpResponseError("https://a.blob.core.windows.net/logs?sig=canary")
    error.status_code, error.error_code = status, code
    return error


def caused(error, cause):
    error.__cause__ = cause
    return error


def aws(code):
    error = RuntimeError("canary")
    error.response = {"Error": {"Code": code}}
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered(403, "AuthorizationFailure"), "HTTP 403 AuthorizationFailure"),
        (answered(500, None), "HTTP 500"),
        (ServiceRequestError("sig=canary"), "ServiceRequestError"),
        (
            ServiceRequestError("sig=canary", error=caused(ValueError(), OSError(111, "Connection refused"))),
            "ServiceRequestError, Connection refused",
        ),
        (PermissionError(13, "Permission denied", "/canary"), "PermissionError, Permission denied"),
        (ValueError("canary"), "ValueError"),
        (caused(FileNotFoundError("canary"), aws("NoSuchBucket")), "FileNotFoundError, NoSuchBucket"),
        (aws("https://canary"), "RuntimeError"),
    ],
)
def test_reason(error, expected):
    """Status, code and the system's words; no address, no signature."""
    assert reason_of(error) == expected
