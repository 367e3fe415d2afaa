"""Stores for tests: Azure's append blobs in memory, with the faults of a network."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.storage.blob import BlobProperties, BlobType


class FakeBlobs:
    """Stands for `BlobServiceClient`, its container and its blobs at once.

    `faults` says what becomes of each coming request: "" works, "refused"
    never arrives, "lost" is done but its answer is lost. Then all work.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytearray] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.blocks: dict[str, int] = {}
        self.faults: list[str] = []
        self.appends = 0

    def request(self, do: Any) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise ServiceRequestError("refused")
        result = do()
        if fault == "lost":
            raise ServiceRequestError("lost")
        return result

    def get_container_client(self, name: str) -> FakeBlobs:
        return self

    def get_blob_client(self, name: str) -> FakeBlob:
        return FakeBlob(self, name)

    def close(self) -> None:
        pass

    def put(self, name: str, data: bytes, **metadata: str) -> None:
        self.blobs[name], self.metadata[name], self.blocks[name] = bytearray(data), metadata, 1


class FakeBlob:
    def __init__(self, store: FakeBlobs, name: str) -> None:
        self._store = store
        self._name = name

    def create_append_blob(self, *, metadata: dict[str, str], match_condition: Any, **_: Any) -> None:
        assert match_condition.name == "IfMissing"

        def do() -> None:
            if self._name in self._store.blobs:
                raise ResourceExistsError("exists")
            self._store.put(self._name, b"", **metadata)
            self._store.blocks[self._name] = 0

        self._store.request(do)

    def append_block(self, data: bytes, length: int, appendpos_condition: int) -> dict[str, Any]:
        def do() -> dict[str, Any]:
            blob = self._store.blobs.get(self._name)
            if blob is None:
                raise ResourceNotFoundError("gone")
            if len(blob) != appendpos_condition:
                raise HttpResponseError("the position is another")
            blob += data
            self._store.blocks[self._name] += 1
            self._store.appends += 1
            return {"blob_committed_block_count": self._store.blocks[self._name]}

        assert length == len(data) <= 4 * 1024 * 1024
        result: dict[str, Any] = self._store.request(do)
        return result

    def get_blob_properties(self) -> BlobProperties:
        def do() -> BlobProperties:
            blob = self._store.blobs.get(self._name)
            if blob is None:
                raise ResourceNotFoundError("gone")
            properties = BlobProperties(metadata=self._store.metadata[self._name])
            properties.size = len(blob)
            properties.blob_type = BlobType.APPENDBLOB
            properties.append_blob_committed_block_count = self._store.blocks[self._name]
            return properties

        result: BlobProperties = self._store.request(do)
        return result
