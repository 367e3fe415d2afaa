"""Entries of the TOML file's tables, read by themselves."""

from datetime import date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from openai_proxy.settings import KeyEntry


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("1970-01-02", 86400.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        (date(1970, 1, 2), 86400.0),
        (datetime(1970, 1, 1, 0, 1), 60.0),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0.0),
    ],
)
def test_expiry_is_read_as_utc_unless_it_says_otherwise(value, expected):
    """TOML datetimes and ISO strings give the same instant."""
    assert KeyEntry(name="al", key="sk-al", expires=value).expires.timestamp() == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "never",
        "2020-13-01",
        60,
        "9999-12-31T23:59:59-12:00",
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_bad_expiry_is_refused(value):
    """A date that is none stops the start, and so does one that cannot be shown in UTC: every list of keys failed."""
    with pytest.raises(ValidationError):
        KeyEntry(name="al", key="sk-al", expires=value)
