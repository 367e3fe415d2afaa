"""Every kind of object that the API stores has an owner, or a reason why it has none."""

import re
from pathlib import Path

import pytest

from openai_proxy.policies.authorize.object_ids import KINDS, collection_of, id_in_path, makes_objects
from openai_proxy.wire.endpoint_rules import ADMINISTRATION
from openai_proxy.wire.targets import map_target

DESCRIBED = (Path(__file__).parents[2] / "wire" / "api_paths.txt").read_text("ascii").split()
EXEMPT = {
    "models": "shared by all keys; `models` of a key says which it may use",
    "fine_tuning/checkpoints": "permissions of a model, by an administrator's key only",
    "webhook_event_types": "a list of the API's own",
}
"""Collections whose objects have no owners, with the reason."""
FURTHER = (
    "/agents/{id}", "/agents/automations/{id}/invocations/{id}", "/agents/environments/{id}/files",
    "/agents/environments/templates/{id}", "/agents/sessions/{id}/artifacts/{id}/content", "/audio/voices/{id}",
    "/vaults/{id}/credentials/{id}", "/live/sessions/{id}/content", "/safety/alerts/{id}", "/safety/cases/{id}",
)  # fmt: skip
"""Paths that only the SDK has."""


def paths():
    """Return each path that names an object, with identifiers as `{id}`."""
    shown = {re.sub(r"{[^}]*}", "{id}", path.partition("?")[0]) for path in DESCRIBED}
    return sorted(path for path in {*shown, *FURTHER} if "{id}" in path)


def is_exempt(endpoint):
    first = endpoint.partition("/")[0]
    return first in ADMINISTRATION - {"vaults"} or any(endpoint.startswith(f"{name}/") for name in EXEMPT)


def test_each_stored_kind_has_an_owner_or_a_reason():
    """A kind that is new in the API is noticed: another key could read it."""
    found = paths()
    assert len(found) > 80
    uncovered = []
    for path in found:
        target = path.replace("{id}", "x-1").encode()
        endpoint = map_target(target).named
        if is_exempt(endpoint):
            assert collection_of(endpoint) is None, path
        elif id_in_path(target, endpoint) != "x-1":
            uncovered.append(path)
    assert uncovered == []


def test_each_kind_is_of_the_api():
    """No entry is left over, and each is found where it is listed or made."""
    described = {map_target(path.replace("{id}", "x-1").encode()).named for path in paths()}
    for name in KINDS:
        assert any(each.startswith(f"{name}/{{id}}") for each in described), name
        assert collection_of(name) == name


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_is_learnt_when_it_is_made(name):
    """A POST to the collection tells the id of what it has made."""
    assert makes_objects(b"POST", name, {"store": True}) is True
