"""URLs and storage options are checked at the start, and their secrets never shown."""

import sys

import pytest
from twisted.internet.task import Clock

from openai_proxy.observe.exchange_log.options import build
from openai_proxy.observe.exchange_log.remote.storage import parse_remote
from openai_proxy.observe.interfaces import ObserverContext, ObserverOptions
from openai_proxy.observe.spec import parse_spec

KEY = "Y2FuYXJ5LWNhbmFyeQ=="
CONNECTION = (
    f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net"
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    """Keep the variables of whoever runs the tests out."""
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY", "CONNECTION_STRING", "SAS_TOKEN", "ACCOUNT_HOST"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


def made(text, **context):
    return build(ObserverOptions(parse_spec(text), ObserverContext(Clock(), **context)))


def test_spec_is_understood(tmp_path):
    """URL, options, choices and spool are each used; building creates nothing."""
    log = made(
        f"exchange-log:url=az://logs/proxy:account_name=acc:bodies=false:spool={tmp_path}/s:spool_bytes=9",
        azure={"account_key": KEY},
    )
    assert (log.synchronous, log.needs_bodies) == (True, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url=logs", "protocol://path"),
        ("url=az://", "no container"),
        ("url=az://logs", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("url=az://logs:account_name=a:account_key=notbase64", "not base64"),
        ("url=az://logs:connection_string=canary", "cannot be read"),
        (f"url=az://logs:account_name=b:connection_string={CONNECTION}", "different accounts"),
        ("url=nosuch://x", "no protocol 'nosuch'"),
        ("url=memory://x:dir=/tmp", "two observers"),
        ("url=memory://x:spool_bytes=0", "spool_bytes"),
        ("url=memory://x:spool_bytes=1e6", "spool_bytes"),
        ("url=memory://x:spool=/proc/nope", "cannot be created"),
        ("url=memory://x:bodies=perhaps", "bodies"),
    ],
)
def test_bad_spec_is_one_line_without_secrets(tmp_path, text, said):
    """What cannot work stops the start, and says what to do."""
    with pytest.raises(ValueError, match=said) as caught:
        made("exchange-log:" + text, spool_directory=str(tmp_path / "spool"))
    message = str(caught.value)
    assert "\n" not in message
    assert not any(secret in message for secret in (KEY, "notbase64", "canary"))


@pytest.mark.parametrize(
    ("url", "module", "said"),
    [
        ("az://logs", "fsspec", r"openai-proxy\[azure\]"),
        ("memory://logs", "fsspec", r"openai-proxy\[azure\]"),
        ("az://logs", "adlfs", r"openai-proxy\[azure\]"),
        ("gs://logs", "gcsfs", "gcsfs"),
    ],
)
def test_missing_package_is_named(monkeypatch, url, module, said):
    """A feature whose packages are not there says which."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "openai_proxy.observe.exchange_log.remote.append_blobs", raising=False)
    if module != "fsspec":
        registry = sys.modules["fsspec.registry"]._registry
        for protocol in ("az", "gs"):
            monkeypatch.delitem(registry, protocol, raising=False)
    with pytest.raises(ValueError, match=said):
        parse_remote(url, {"account_name": "a"}, {})


@pytest.mark.parametrize("option", [f"account_key={KEY}", f"connection_string={CONNECTION}", "sas_token=x"])
def test_secrets_are_refused_on_the_command_line(tmp_path, option):
    """Everybody on the machine can see it there."""
    text = f"exchange-log:url=az://logs:account_name=acc:{option}"
    context = {"spool_directory": str(tmp_path)}
    made(text, **context)
    with pytest.raises(ValueError, match="command line") as caught:
        made(text, on_command_line=True, **context)
    assert KEY not in str(caught.value)


def test_secrets_are_not_shown(tmp_path):
    """No repr and no text of the store holds them."""
    remote = parse_remote("ftp://user:canary@host/logs?sig=canary", {"password": "canary"}, {})
    assert remote.shown_url == "ftp://host/logs"
    assert "canary" not in f"{remote!r}{remote.identity}"
    context = ObserverContext(Clock(), azure={"connection_string": CONNECTION})
    assert KEY not in repr(context)


def test_place_stays_the_same_when_its_key_changes():
    """What waits in the spool is shipped with the new key, and never to another store."""

    def identity(url="az://logs", azure=None, **given):
        return parse_remote(url, given, azure or {}).identity

    same = {
        identity(azure={"account_name": "acc", "account_key": KEY}),
        identity(azure={"account_name": "acc", "account_key": "bmV3"}),
        identity(account_name="acc", sas_token="x"),
        identity(azure={"connection_string": CONNECTION}),
        identity(
            azure={
                "connection_string": "BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=sig"
            }
        ),
    }
    assert len(same) == 1
    others = {
        identity(account_name="other"),
        identity("az://logs/prefix", account_name="acc"),
        identity("az://more", account_name="acc"),
        identity("memory://logs"),
        identity("ftp://h/logs", host="h"),
    }
    assert len(others | same) == 6


def test_options_have_their_types():
    """fsspec gets truth values, numbers and JSON, and names and keys as text."""
    given = {
        "anon": "true",
        "port": "2121",
        "client_kwargs": '{"a":1}',
        "key": "123",
        "username": "456",
        "region": "eu",
    }
    assert parse_remote("memory://x", given, {})._options == {
        "anon": True,
        "port": 2121,
        "client_kwargs": {"a": 1},
        "key": "123",
        "username": "456",
        "region": "eu",
    }
