"""What the mock upstream keeps: uploaded files and stored responses. Pure.

In memory and bounded; one for the life of a process, whatever is reloaded.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from .reply import CREATED, Refusal, Reply, not_found, rendered
from .words import digest_of

MIB = 1024 * 1024
MOST_FILES = 1000
LARGEST_FILE_BYTES = 16 * MIB
MOST_FILE_BYTES = 64 * MIB
MOST_RESPONSES = 1000
MOST_RESPONSE_BYTES = 16 * MIB
FILES_A_PAGE, ITEMS_A_PAGE = 10_000, 20
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@frozen(repr=False)
class StoredFile:
    """An uploaded file."""

    document: dict[str, Any]
    content: bytes


class MockMemory:
    """Files, which are refused beyond the bounds, and responses, the oldest of which are forgotten."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._file_bytes = self._uploads = 0
        self._responses: dict[str, tuple[bytes, bytes]] = {}
        """Response and list of input items, the oldest first, by id."""
        self._response_bytes = 0

    # ---- files

    def upload(self, fields: dict[str, tuple[str | None, bytes]]) -> Reply:
        """Answer POST files by the fields of its form."""
        name, content = fields.get("file", (None, b""))
        if name is None:
            raise Refusal("Missing required parameter: 'file'.", param="file")
        purpose = fields.get("purpose", (None, b""))[1].decode("utf-8", "replace")
        if purpose not in _PURPOSES:
            raise Refusal(f"Invalid 'purpose': expected one of {', '.join(_PURPOSES)}.", param="purpose")
        if len(content) > LARGEST_FILE_BYTES:
            raise _too_large(f"The mock upstream takes files of at most {LARGEST_FILE_BYTES} bytes.")
        if len(self._files) >= MOST_FILES or self._file_bytes + len(content) > MOST_FILE_BYTES:
            raise _too_large(
                f"The mock upstream keeps at most {MOST_FILES} files and {MOST_FILE_BYTES} bytes: delete some."
            )
        self._uploads += 1
        identifier = "file-" + digest_of(content, name.encode(), b"%d" % self._uploads).hex()[:24]
        document = {
            "id": identifier,
            "object": "file",
            "bytes": len(content),
            "created_at": CREATED,
            "expires_at": None,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self._files[identifier] = StoredFile(document, content)
        self._file_bytes += len(content)
        return Reply(rendered(document))

    def list_files(self, parameters: dict[str, str]) -> Reply:
        """Answer GET files, the newest first."""
        files = [each.document for each in self._files.values()]
        if "purpose" in parameters:
            files = [each for each in files if each["purpose"] == parameters["purpose"]]
        return _page(files, parameters, FILES_A_PAGE)

    def file(self, identifier: str) -> Reply:
        """Answer GET files/{id}."""
        return Reply(rendered(self._file(identifier).document))

    def content(self, identifier: str) -> Reply:
        """Answer GET files/{id}/content."""
        return Reply(self._file(identifier).content, content_type=b"application/octet-stream")

    def delete_file(self, identifier: str) -> Reply:
        """Answer DELETE files/{id}."""
        self._file_bytes -= len(self._file(identifier).content)
        del self._files[identifier]
        return Reply(rendered({"id": identifier, "object": "file", "deleted": True}))

    def _file(self, identifier: str) -> StoredFile:
        found = self._files.get(identifier)
        if found is None:
            raise not_found("No such File object.", param="id")
        return found

    # ---- responses

    def keep_response(self, identifier: str, data: bytes, items: bytes) -> None:
        """Store a response; one that is larger than all the room is not stored."""
        self._forget(identifier)
        size = len(data) + len(items)
        if size > MOST_RESPONSE_BYTES:
            return
        while self._responses and (
            len(self._responses) >= MOST_RESPONSES or self._response_bytes + size > MOST_RESPONSE_BYTES
        ):
            self._forget(next(iter(self._responses)))
        self._responses[identifier] = (data, items)
        self._response_bytes += size

    def response(self, identifier: str) -> Reply:
        """Answer GET responses/{id}."""
        return Reply(self._response(identifier)[0])

    def input_items(self, identifier: str, parameters: dict[str, str]) -> Reply:
        """Answer GET responses/{id}/input_items, the newest first."""
        return _page(json.loads(self._response(identifier)[1]), parameters, ITEMS_A_PAGE)

    def delete_response(self, identifier: str) -> Reply:
        """Answer DELETE responses/{id}."""
        self._response(identifier)
        self._forget(identifier)
        return Reply(rendered({"id": identifier, "object": "response", "deleted": True}))

    def check_previous(self, identifier: Any) -> None:
        """Refuse a request that goes on from a response that is not here."""
        if identifier is not None and not (isinstance(identifier, str) and identifier in self._responses):
            raise Refusal(
                "Previous response not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )

    def _response(self, identifier: str) -> tuple[bytes, bytes]:
        found = self._responses.get(identifier)
        if found is None:
            raise not_found("Response not found.", param="id")
        return found

    def _forget(self, identifier: str) -> None:
        data, items = self._responses.pop(identifier, (b"", b""))
        self._response_bytes -= len(data) + len(items)


def _page(documents: list[dict[str, Any]], parameters: dict[str, str], usual: int) -> Reply:
    """Return a page of a list that is given with the oldest first; `usual` is its length without a `limit`."""
    if parameters.get("order", "desc") != "asc":
        documents = documents[::-1]
    after = parameters.get("after")
    if after is not None:
        at = next((n for n, each in enumerate(documents) if each["id"] == after), len(documents))
        documents = documents[at + 1 :]
    limit = parameters.get("limit", "")
    page = documents[: int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 6 else usual]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = len(page) < len(documents)
    return Reply(
        rendered({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})
    )


def _too_large(message: str) -> Refusal:
    return Refusal(message, status=413, reason=b"Content Too Large", code="request_too_large")
