"""When the certificates of listeners end."""

import datetime

import pytest
import trustme

from openai_proxy.net.certificate_dates import ends_of

END = datetime.datetime(2030, 1, 31, tzinfo=datetime.timezone.utc)


@pytest.fixture
def pem(tmp_path):
    """A key and its certificates in one file, and the same in a directory."""
    issued = trustme.CA().issue_cert("localhost", not_after=END)
    (tmp_path / "dir").mkdir()
    for path in (tmp_path / "both.pem", tmp_path / "dir" / "localhost.pem"):
        issued.private_key_and_cert_chain_pem.write_to_path(path)
    return tmp_path


@pytest.mark.parametrize(
    "string",
    [
        "ssl:8443:privateKey={}/both.pem",
        "ssl:8443:certKey={}/both.pem:privateKey=x",
        "tls:{}/dir:8443",
        "haproxy:tls:{}/dir:8443",
    ],
)
def test_the_end_of_each_listeners_certificate_is_read(pem, string):
    """In every form of an endpoint string that names one."""
    description = string.format(pem)
    assert ends_of([description, "tcp:8080"]) == {description: END.timestamp()}


@pytest.mark.parametrize(
    "string", ["tcp:8080", "unix:/x", "ssl:8443:privateKey=/nowhere.pem", "tls:/nowhere:1", "", "ssl"]
)
def test_others_have_none(string):
    """What cannot be read does not hurt."""
    assert ends_of([string]) == {}
