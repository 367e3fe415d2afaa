"""The places where `openai-proxy key` changes keys: at a running proxy, or in the file of a stopped one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from .admin_client import AdminClient, NotReachable


class KeySource(Protocol):
    """Runs the verbs; documents are those of `/admin/keys`. Raises NotReachable and Refused, or what `KeyFile` raises."""

    def listed(self, group: str | None) -> list[dict[str, Any]]: ...

    def one(self, name: str) -> dict[str, Any]: ...

    def make(self, document: Mapping[str, Any]) -> dict[str, Any]: ...

    def change(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]: ...

    def rotate(self, name: str, grace_s: float) -> dict[str, Any]: ...

    def revoke(self, name: str, cut: bool) -> None: ...


class RunningProxy:
    """Changes keys by `/admin/keys`."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def listed(self, group: str | None) -> list[dict[str, Any]]:
        query = "" if group is None else f"?group={quote(group, safe='')}"
        answer = self._client.ask("GET", f"/admin/keys{query}")
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise NotReachable("the server there is not openai-proxy")
        found: list[dict[str, Any]] = answer["data"]
        return found

    def one(self, name: str) -> dict[str, Any]:
        return self._ask("GET", _path(name))

    def make(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "/admin/keys", document)

    def change(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("PATCH", _path(name), document)

    def rotate(self, name: str, grace_s: float) -> dict[str, Any]:
        return self._ask("POST", f"{_path(name)}/rotate", {"grace_s": grace_s})

    def revoke(self, name: str, cut: bool) -> None:
        self._client.ask("DELETE", _path(name) + ("?cut=true" if cut else ""))

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._client.ask(method, path, document)
        if not isinstance(answer, dict):
            raise NotReachable("the server there is not openai-proxy")
        return answer


def _path(name: str) -> str:
    return f"/admin/keys/{quote(name, safe='')}"
