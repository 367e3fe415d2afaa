"""Azure: batches as blocks of append blobs, each block exactly once.

Each append names the position where it must land, so that one whose answer
was lost cannot be made twice: the blob's length shows whether it landed.
A blob has one writer, the instance that created it, which stands in its
metadata.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from adlfs import AzureBlobFileSystem
from attrs import frozen
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobServiceClient, BlobType, ContentSettings

from ....exchange.bounded_memo import BoundedMemo
from ..files import SUFFIX
from .batch import Batch, Mark

BLOCK_BYTES = 4 * 1024 * 1024
MAX_BLOCKS = 49_000
"""Azure allows 50,000; a batch begun below this may need several."""
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30
_WRITER = "writer"
_MAX_TARGETS = 1024
_MAX_BLOBS = 10_000


@frozen
class _Target:
    """A blob of ours, and where its next block goes."""

    index: int
    length: int
    blocks: int


def service_client(filesystem: AzureBlobFileSystem) -> BlobServiceClient:
    """Return a client with the account and the credentials that adlfs made of its options and variables.

    Without retries of its own: who ships retries.
    """
    patience: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    if filesystem.connection_string is not None:
        return BlobServiceClient.from_connection_string(filesystem.connection_string, **patience)
    url = filesystem.account_url
    credential = filesystem.sync_credential or filesystem.account_key
    if credential is None and filesystem.sas_token:
        url += filesystem.sas_token
    return BlobServiceClient(url, credential=credential, **patience)


class AppendBlobs:
    """A container's append blobs below a prefix. Used by one thread."""

    def __init__(
        self, service: BlobServiceClient, container: str, prefix: str = "", max_blocks: int = MAX_BLOCKS
    ) -> None:
        self._service = service
        self._container = service.get_container_client(container)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._max_blocks = max_blocks
        self._targets: BoundedMemo[tuple[str, str], _Target] = BoundedMemo(_MAX_TARGETS)

    def deliver(self, batch: Batch) -> None:
        """Append the batch, or the rest of it. Call it again after any error: nothing lands twice."""
        # Known again when all has gone well: after an error the blob itself is asked.
        target = self._targets.pop((batch.instance, batch.name), None)
        landed = self._landed(batch) if batch.mark is not None else None
        if landed is not None and batch.mark is not None:
            target, done = landed
            mark = batch.mark
        else:
            if target is None or target.blocks >= self._max_blocks:
                target = self._claim(batch, target.index + 1 if target is not None else 0)
            done = 0
            mark = Mark(target.index, target.length)
            batch.put_mark(mark)
        blocks = self._append(batch, mark, done, target.blocks)
        length = max(target.length, mark.position + batch.size)
        self._targets.remember((batch.instance, batch.name), _Target(mark.index, length, blocks), 0)

    def close(self) -> None:
        self._service.close()

    def _append(self, batch: Batch, mark: Mark, done: int, blocks: int) -> int:
        """Append what is left of the batch; return how many blocks the blob has then."""
        blob = self._blob(batch, mark.index)
        while done < batch.size:
            block = batch.read(done, BLOCK_BYTES)
            answer = blob.append_block(block, length=len(block), appendpos_condition=mark.position + done)
            blocks = int(str(answer["blob_committed_block_count"]))
            done += len(block)
        return blocks

    def _landed(self, batch: Batch) -> tuple[_Target, int] | None:
        """Return how much of a marked batch is in its blob; None if the blob is not the one it was."""
        assert batch.mark is not None
        try:
            target = self._ours(batch, batch.mark.index)
        except ResourceNotFoundError:
            return None
        if target is None or target.length < batch.mark.position:
            return None
        return target, min(target.length - batch.mark.position, batch.size)

    def _claim(self, batch: Batch, first: int) -> _Target:
        """Return the first blob of the batch's name that is ours, or that we could make ours."""
        for index in count(first):
            # Not adlfs: it looks first and then creates, and a second creation empties the blob.
            try:
                self._create(self._blob(batch, index), batch.instance)
            except ResourceExistsError:
                target = self._ours(batch, index)
                if target is not None and target.blocks < self._max_blocks:
                    return target
            else:
                return _Target(index, 0, 0)
            if index > _MAX_BLOBS:
                break
        raise RuntimeError("no blob name is free")

    def _create(self, blob: BlobClient, writer: str) -> None:
        details: dict[str, Any] = {
            "metadata": {_WRITER: writer},
            "content_settings": ContentSettings(content_type="application/x-ndjson"),
            "match_condition": MatchConditions.IfMissing,
        }
        try:
            blob.create_append_blob(**details)
        except ResourceNotFoundError:
            try:
                self._container.create_container()
            except ResourceExistsError:
                pass
            blob.create_append_blob(**details)

    def _ours(self, batch: Batch, index: int) -> _Target | None:
        """Return what is known of an existing blob; None if somebody else writes it."""
        properties = self._blob(batch, index).get_blob_properties()
        writer = (properties.metadata or {}).get(_WRITER)
        if properties.blob_type != BlobType.APPENDBLOB or writer != batch.instance:
            return None
        return _Target(index, properties.size, properties.append_blob_committed_block_count or 0)

    def _blob(self, batch: Batch, index: int) -> BlobClient:
        return self._container.get_blob_client(self._prefix + blob_name(batch, index))


def blob_name(batch: Batch, index: int) -> str:
    """Return the name of the blob that a batch goes to.

    The first is the log file's own name. If somebody else has that one,
    or it is full, the instance follows, then a number.
    """
    if index == 0:
        return batch.name
    number = f".{index}" if index > 1 else ""
    return f"{batch.stem}.{batch.instance}{number}{SUFFIX}"
