"""A real Azurite, Azure's own stand-in for its blob store: started, killed, started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from world.services import ServiceProcess
from world.waiting import eventually

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere and written in its manual."""

_INSTALLED = Path(__file__).parents[2] / ".services" / "node_modules" / ".bin" / "azurite-blob"


def require_azurite() -> str:
    """Return the path of azurite-blob; skip if there is none, fail in CI."""
    path = str(_INSTALLED) if _INSTALLED.exists() else shutil.which("azurite-blob")
    if path is None or shutil.which("node") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("azurite is not installed, and CI must run these tests")
        pytest.skip("azurite is not installed (scripts/setup test)")
    pytest.importorskip("azure.storage.blob")
    return path


class Azurite(ServiceProcess):
    """An Azurite; what it stores is in `directory`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._path = require_azurite()
        self._options = options
        self._directory = directory
        super().__init__()

    @property
    def url(self) -> str:
        scheme = "https" if "--cert" in self._options else "http"
        return f"{scheme}://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return f"DefaultEndpointsProtocol={self.url[:5].rstrip(':')};AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.url};"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._directory.mkdir(exist_ok=True)
        args = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self._directory)]
        with (self._directory / "output").open("ab") as output:
            command = [self._path, *args, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
            self._run([*command, *self._options], stdout=output, stderr=output)
        assert eventually(self._listens), (self._directory / "output").read_text()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it as an operator does: it writes down what it holds."""
        self._end(signal.SIGTERM)

    # ---- what is in it

    def container(self, name: str = "logs", **options: Any) -> Any:
        """Return a client of a container. Close it after use."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(self.connection_string, name, retry_total=0, **options)

    def blobs(self, container: str = "logs") -> dict[str, bytes]:
        """Return every blob's bytes by its name; nothing if there is no container."""
        from azure.core.exceptions import ResourceNotFoundError

        with self.container(container) as client:
            try:
                return {blob.name: client.download_blob(blob.name).readall() for blob in client.list_blobs()}
            except ResourceNotFoundError:
                return {}

    def lines(self, container: str = "logs") -> list[Any]:
        """Return every line of every blob, decoded; a torn one fails."""
        return [json.loads(line) for data in self.blobs(container).values() for line in data.splitlines()]
