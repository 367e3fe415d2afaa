"""`/admin/keys` over a whole downstream edge in memory."""

import json
from functools import partial

import pytest
from fakes import LOCAL, Downstream
from twisted.internet.address import UNIXAddress

from openai_proxy.exchange.page_errors import KeyExists, KeyNotFound
from openai_proxy.pages.admin import AdminPages, Gate
from openai_proxy.pages.keys import BODY_BYTES, KeyPages

TOKEN = "Authorization: Bearer secret"
JSON = "Content-Type: application/json"


class Keys:
    """Notes what is asked."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return partial(self._do, name)

    async def _do(self, name, *arguments):
        self.asked.append((name, *arguments))
        if arguments[0] == "nobody":
            raise KeyNotFound
        if arguments[0] == {"name": "taken"}:
            raise KeyExists("taken", param="name")
        return {"did": name}


class KeysPages(Downstream):
    """An edge with the pages of keys; `cut` are the keys whose requests are to be cut."""

    def __init__(self, token=b"secret", peer=LOCAL, unix_is_local=False):
        super().__init__()
        self.keys, self.cut, self.peer = Keys(), [], peer
        admin = AdminPages()
        pages = KeyPages(Gate(lambda: token, unix_is_local), self.keys, self.cut.append)
        admin.putChild(b"keys", pages.root())
        self.site.root.putChild(b"admin", admin)

    def do(self, method, target, *lines, **how):
        """Return status, headers and body of the response."""
        return self.ask(target, *lines, method=method, peer=self.peer, **how)

    def error(self, *arguments, **more):
        status, _, body = self.do(*arguments, **more)
        error = json.loads(body)["error"]
        return status, error["code"], error["param"]


def test_each_page_does_what_its_method_says():
    """The names of keys may have any letter in them."""
    pages = KeysPages()
    assert pages.do("GET", "/admin/keys", TOKEN)[::2] == (200, b'{"did":"listed"}\n')
    assert pages.do("GET", "/admin/keys?group=g", TOKEN)[0] == 200
    status, headers, body = pages.do("POST", "/admin/keys", TOKEN, JSON, body=b'{"name":"a"}')
    assert (status, body) == (201, b'{"did":"make"}\n')
    assert headers[b"cache-control"] == b"no-store"
    assert pages.do("GET", "/admin/keys/a%2Fb%20%C3%BC", TOKEN)[0] == 200
    assert pages.do("PATCH", "/admin/keys/a", TOKEN, JSON, body=b'{"blocked":true}')[0] == 200
    assert pages.do("POST", "/admin/keys/a/rotate", TOKEN, JSON, body=b'{"grace_s":5}')[0] == 200
    assert pages.do("POST", "/admin/keys/a/rotate", TOKEN)[0] == 200
    assert pages.do("DELETE", "/admin/keys/a", TOKEN)[::2] == (204, b"")
    assert pages.cut == []
    assert pages.do("DELETE", "/admin/keys/b?cut=true", TOKEN)[0] == 204
    assert pages.cut == ["b"]
    assert pages.keys.asked == [
        ("listed", None),
        ("listed", "g"),
        ("make", {"name": "a"}, "token"),
        ("one", "a/b ü"),
        ("change", "a", {"blocked": True}, "token"),
        ("rotate", "a", {"grace_s": 5}, "token"),
        ("rotate", "a", {}, "token"),
        ("revoke", "a", "token"),
        ("revoke", "b", "token"),
    ]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (("POST", "/admin/keys", JSON), (401, "missing_api_key", None)),
        (("POST", "/admin/keys", "Authorization: Bearer x", JSON), (401, "invalid_api_key", None)),
        (("POST", "/admin/keys", TOKEN), (415, "unsupported_media_type", None)),
        (("POST", "/admin/keys", TOKEN, "Content-Type: text/plain"), (415, "unsupported_media_type", None)),
        (
            ("POST", "/admin/keys", TOKEN, JSON, "Content-Encoding: gzip"),
            (415, "unsupported_media_type", None),
        ),
        (("POST", "/admin/keys", TOKEN, JSON), (400, "invalid_json", None)),
        (("PUT", "/admin/keys", TOKEN), (405, "method_not_allowed", None)),
        (("POST", "/admin/keys/a", TOKEN), (405, "method_not_allowed", None)),
        (("GET", "/admin/keys/a/rotate", TOKEN), (405, "method_not_allowed", None)),
        (("GET", "/admin/keys/a/b", TOKEN), (404, "unknown_url", None)),
        (("GET", "/admin/keys/%FF", TOKEN), (404, "unknown_url", None)),
        (("GET", "/admin/keys/nobody", TOKEN), (404, "key_not_found", None)),
        (("DELETE", "/admin/keys/a?cut=maybe", TOKEN), (400, "invalid_value", "cut")),
        (("DELETE", "/admin/keys/a", TOKEN, "Origin: http://evil.test"), (403, "foreign_origin", None)),
        (("DELETE", "/admin/keys/a", TOKEN, "Origin: null"), (403, "foreign_origin", None)),
        (("DELETE", "/admin/keys/a", TOKEN, "Origin: https://proxy.test"), (403, "foreign_origin", None)),
    ],
)
def test_refusals_have_their_code(request_, expected):
    """And nothing is changed."""
    pages = KeysPages()
    assert pages.error(*request_) == expected
    assert [each for each in pages.keys.asked if each[0] != "one"] == []


def test_a_page_of_this_very_origin_may_change_keys():
    """The dashboard is one."""
    assert KeysPages().do("DELETE", "/admin/keys/a", TOKEN, "Origin: http://proxy.test")[0] == 204


@pytest.mark.parametrize("body", [b"[]", b"3", b"{", b'{"name":"\\ud800"}', b"\xff"])
def test_what_is_no_json_object_is_refused(body):
    """Lone surrogates too: no store could keep them."""
    assert KeysPages().error("POST", "/admin/keys", TOKEN, JSON, body=body) == (400, "invalid_json", None)


def test_a_body_has_a_bound():
    """Whether it comes at once or not."""
    body = b'{"name":"' + b"a" * BODY_BYTES + b'"}'
    assert KeysPages().error("POST", "/admin/keys", TOKEN, JSON, body=body) == (
        413,
        "request_too_large",
        None,
    )


def test_a_name_that_is_taken_is_a_conflict():
    """`param` says which member."""
    answer = KeysPages().error("POST", "/admin/keys", TOKEN, JSON, body=b'{"name":"taken"}')
    assert answer == (409, "key_exists", "name")


def test_without_a_token_this_machine_may_look_and_not_change():
    """A web page or another user's program may reach loopback."""
    pages = KeysPages(token=None)
    assert pages.do("GET", "/admin/keys")[0] == 200
    for method, target in [
        ("POST", "/admin/keys"),
        ("PATCH", "/admin/keys/a"),
        ("DELETE", "/admin/keys/a"),
        ("POST", "/admin/keys/a/rotate"),
    ]:
        assert pages.error(method, target, JSON, body=b"{}") == (403, "token_required", None)


def test_a_unix_socket_of_the_admin_port_may_change():
    """Its directory's permissions say who reaches it."""
    pages = KeysPages(token=None, peer=UNIXAddress("s"), unix_is_local=True)
    assert pages.do("DELETE", "/admin/keys/a")[0] == 204
    assert pages.keys.asked == [("revoke", "a", "socket")]
    near = KeysPages(token=None, peer=UNIXAddress("s"))
    assert near.error("DELETE", "/admin/keys/a") == (403, "token_required", None)
