"""Where remote exchange logs go: an fsspec URL with its options.

Checked while the observer is built, connected to in the shipping thread.
Light to import: what a store needs is imported for the one that is used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import orjson
from attrs import field, frozen

from ..files import sanitised
from .batch import Batch

AZURE = ("az", "abfs", "abfss")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.S)
_SECRET = re.compile("key|token|secret|passw|credential|connection_string|sas", re.I)
_TEXT = re.compile("name|user|id$", re.I)
_EXTRA = "is missing: pip install 'twisted-openai-proxy[azure]'"


class RemoteStore(Protocol):
    """Takes batches. Blocks, and is used by one thread."""

    def deliver(self, batch: Batch) -> None:
        """Store a batch whole; any exception means perhaps. Called again, it stores nothing twice."""

    def close(self) -> None:
        """Close connections."""


@frozen
class Remote:
    """A checked store of remote logs; opens nothing before `connect`."""

    protocol: str
    shown_url: str
    """The URL for people, without anything secret."""
    identity: str
    """One short word for each store: what was spooled for another never goes there."""
    _url: str = field(repr=False)
    _options: Mapping[str, Any] = field(repr=False)

    def connect(self) -> RemoteStore:
        """Return the store. Blocks; raises whatever its library raises."""
        core = import_module("fsspec.core")
        filesystem, path = core.url_to_fs(self._url, skip_instance_cache=True, **self._options)
        if self.protocol in AZURE:
            from .append_blobs import AppendBlobs, service_client

            container, prefix = filesystem.split_path(path)[:2]
            return AppendBlobs(service_client(filesystem), container, prefix)
        from .objects import Objects

        return Objects(filesystem, path)


def parse_remote(url: str, given: Mapping[str, str], azure: Mapping[str, str]) -> Remote:
    """Check a URL and the storage options beside it.

    `azure` are options of the settings for Azure; those beside the URL win.
    ValueError, in one line without a secret, for what cannot work.
    """
    match = _URL.fullmatch(url)
    if match is None or "\0" in url:
        raise ValueError("url is written protocol://path, as fsspec has it")
    protocol = match[1].lower()
    shown_url = f"{protocol}://{match[2].rpartition('@')[2].partition('?')[0]}"
    options: dict[str, Any] = {name: _option(name, value) for name, value in given.items()}
    _check_installed(protocol)
    if protocol in AZURE:
        options = {**azure, **options}
        if not match[2].strip("/"):
            raise ValueError("url names no container: az://CONTAINER")
        account = _azure_account(match[2], options)
        return Remote(protocol, shown_url, _identity(shown_url, account), url, options)
    if protocol in ("file", "local"):
        options.setdefault("auto_mkdir", True)
    known = {name: value for name, value in given.items() if not is_secret(name)}
    return Remote(protocol, shown_url, _identity(shown_url, known), url, options)


def is_secret(option: str) -> bool:
    """Whether a storage option of this name holds a secret."""
    return _SECRET.search(option) is not None


def _identity(shown_url: str, facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(orjson.dumps([shown_url, sorted(facts.items())])).hexdigest()
    return f"{sanitised(shown_url.partition('://')[2])[:40]}-{digest[:8]}"


def _option(name: str, text: str) -> Any:
    """Return a storage option as fsspec takes it: true, false, a number, JSON, else text."""
    if is_secret(name) or _TEXT.search(name):
        return text
    if text in ("true", "false") or text[:1] in ("{", "[") or re.fullmatch("[0-9]{1,9}", text):
        try:
            return orjson.loads(text)
        except ValueError:
            pass
    return text


def _check_installed(protocol: str) -> None:
    try:
        fsspec = import_module("fsspec")
    except ImportError:
        raise ValueError(f"fsspec {_EXTRA}") from None
    try:
        fsspec.get_filesystem_class(protocol)
        if protocol in AZURE:
            import_module(".append_blobs", __package__)
    except ImportError as error:
        if protocol in AZURE:
            raise ValueError(f"adlfs {_EXTRA}") from None
        raise ValueError(f"{protocol}:// needs another package: {error}".replace("\n", " ")) from None
    except ValueError:
        raise ValueError(f"fsspec knows no protocol {protocol!r}") from None


def _azure_account(rest: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return where the account is. adlfs looks into these variables too, and prefers a connection string."""

    def option(name: str) -> str:
        return str(options.get(name) or os.environ.get(f"AZURE_STORAGE_{name.upper()}") or "")

    name = option("account_name")
    connection = option("connection_string")
    if connection:
        account, host = _account_of(connection)
        if options.get("account_name") and account and account != name:
            raise ValueError("account_name and the connection string name different accounts")
        return {"host": host}
    in_url = re.search(r"@?([^@/.]+)\.(?:dfs|blob)\.core\.windows\.net", rest)
    name = name or (in_url[1] if in_url else "")
    if not name:
        raise ValueError(
            "no storage account: say account_name=NAME, or set AZURE_STORAGE_ACCOUNT_NAME"
            " or AZURE_STORAGE_CONNECTION_STRING"
        )
    _check_account_key(option("account_key"))
    return {"host": option("account_host") or f"{name}.blob.core.windows.net"}


def _account_of(connection: str) -> tuple[str, str]:
    """Return the account's name, which may be unknown, and its host with a path if it has one."""
    parts = dict(part.strip().partition("=")[::2] for part in connection.split(";") if part.strip())
    _check_account_key({name.lower(): value for name, value in parts.items()}.get("accountkey", ""))
    blob = import_module("azure.storage.blob")
    try:
        client = blob.BlobServiceClient.from_connection_string(connection)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ValueError("the Azure connection string cannot be read") from None
    client.close()
    return client.account_name or "", client.primary_hostname


def _check_account_key(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the Azure account key is not base64") from None
