"""Lists of endpoints: names, globs, methods and sets."""

import pytest

from openai_proxy.wire.endpoint_rules import EndpointAccess, EndpointRules, parse_rules
from openai_proxy.wire.targets import map_target


def lets(entries, method, target, *, websocket=False, **access):
    rules = EndpointRules(entries) if entries else None
    return EndpointAccess(rules, is_default=False, **access).allows(
        method, map_target(target).named, websocket
    )


@pytest.mark.parametrize(
    ("entries", "method", "target", "expected"),
    [
        (["chat/completions"], "POST", b"/v1/chat/completions", True),
        (["chat/completions"], "POST", b"/chat/completions/", True),
        (["/v1/Chat/completions"], "POST", b"/v1/ch%61t/completions?x=1", True),
        (["chat/completions"], "POST", b"/openai/deployments/gpt-4o/chat/completions", True),
        (["chat/completions"], "POST", b"/v1/chat/completions/chatcmpl-1", False),
        (["chat/completions"], "OPTIONS", b"/v1/files", True),
        (["GET files/*"], "GET", b"/v1/files/f-1/content", True),
        (["get files/*"], "HEAD", b"/v1/files/f-1", True),
        (["GET files/*"], "DELETE", b"/v1/files/f-1", False),
        (["GET files/*"], "GET", b"/v1/files", False),
        (["files*"], "POST", b"/v1/files", True),
        (["@read"], "GET", b"/v1/batches", True),
        (["@read"], "POST", b"/v1/batches", False),
        (["@metered"], "POST", b"/v1/responses/resp_1/cancel", True),
        (["@metered"], "GET", b"/v1/models/gpt-4o", True),
        (["@metered"], "DELETE", b"/v1/models/ft:gpt", False),
        (["@metered"], "POST", b"/v1/audio/speech", True),
        (["@metered"], "POST", b"/v1/audio/transcriptions", False),
        (["@metered"], "POST", b"/v1/batches", False),
        (["@metered", "POST batches"], "POST", b"/v1/batches", True),
        (["@all"], "POST", b"/v1/rerank", True),
        (["rerank"], "POST", b"/v1/rerank", True),
    ],
)
def test_a_key_calls_what_is_listed(entries, method, target, expected):
    """Names, globs, a method first, and sets."""
    assert lets(entries, method, target) is expected


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/organization/users",
        b"/organization/admin_api_keys",
        b"/v1/organiz%61tion/users",
        b"/v1/Organization/users",
        b"/v1/organization%2Fusers",
        b"/v1/openai/v1/organization/users",
        b"/v1/organization;x/users",
        b"/v1/organization/a/b/c/d/e/f/g/h/i",
        b"/v1/projects/p",
        b"/v1/vaults/v/secrets",
        b"/v1/webhook_endpoints",
    ],
)
def test_administration_must_be_written_out(target):
    """No set and no glob has what administers the account; its name does, and pass-through is open."""
    for entries in (None, ["@all"], ["*"], ["@read"], ["?rganization/*"]):
        assert not lets(entries, "GET", target)
    first = map_target(target).named.partition("/")[0]
    assert lets([f"{first}*"], "GET", target) is False
    assert lets([first, f"{first}/*"], "GET", target)
    assert not lets([f"POST {first}", f"POST {first}/*"], "GET", target)
    assert lets(None, "GET", target, guards=False)


def test_the_list_for_everybody_holds_beside_the_keys_own():
    """A request must be in both; administration is written out in the key's own list if it has one."""
    everybody = EndpointRules(["@all", "organization/*"])
    assert EndpointAccess(EndpointRules(["@all"]), everybody).allows("GET", "organization/users")
    assert EndpointAccess(None, everybody).allows("GET", "organization/users")
    assert not EndpointAccess(EndpointRules(["@all"]), everybody, is_default=False).allows(
        "GET", "organization/users"
    )
    assert not EndpointAccess(EndpointRules(["@metered"]), everybody).allows("GET", "organization/users")
    assert not EndpointAccess(EndpointRules(["@all"]), EndpointRules(["embeddings"])).allows(
        "POST", "chat/completions"
    )
    assert EndpointAccess(
        EndpointRules(["organization/*"]), EndpointRules(["@all"]), is_default=False
    ).allows("GET", "organization/users")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["responses"], True),
        (["POST responses"], True),
        (["GET responses"], True),
        (["@metered"], True),
        (["@read"], False),
        (["GET *"], False),
        (["DELETE responses"], False),
    ],
)
def test_a_websocket_counts_as_its_endpoint(entries, expected):
    """It runs models: who may only read opens none."""
    assert lets(entries, "GET", b"/v1/responses", websocket=True) is expected


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "empty"),
        (["@meterd"], "@metered"),
        (["@al"], "@all"),
        (["chat/completions", "@raed"], "@read"),
        (["PSOT files"], "POST"),
        (["GET @all"], "@all"),
        (["GET files x"], "not the name"),
        (["/"], "not the name"),
    ],
)
def test_a_bad_list_is_refused(entries, said):
    """The error names the nearest that there is."""
    with pytest.raises(ValueError, match=said):
        parse_rules(entries)
