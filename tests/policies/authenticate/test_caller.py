"""Who pays and what separates callers when credentials pass unchanged."""

import pytest

from openai_proxy.exchange.errors import MalformedRequest
from openai_proxy.policies.authenticate.caller import Callers, credential_id

PROTOCOL = b"Sec-WebSocket-Protocol"
REAL = (b"Authorization", b"Bearer real")


@pytest.mark.parametrize(
    "other",
    [
        (b"api-key", b"random"),
        (b"x-api-key", b"random"),
        (b"Proxy-Authorization", b"Basic random"),
        (PROTOCOL, b"realtime, openai-insecure-api-key.random"),
        (b"x-goog-api-key", b"random"),
        (b"Ocp-Apim-Subscription-Key", b"random"),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_the_credential_that_the_upstream_will_use_pays(other, first):
    """A random credential beside the real one opens no new account, and shares no answers either."""
    callers = Callers()
    alone = callers.find([REAL])
    both = callers.find([other, REAL] if first else [REAL, other])
    assert alone.payer == both.payer == credential_id(b"real")
    assert alone.credential == b"Bearer real"
    assert alone.credential != both.credential
    assert both == callers.find([REAL, (other[0].upper(), other[1])])
    assert both.credential != callers.find([REAL, (other[0], other[1] + b"2")]).credential


@pytest.mark.parametrize(
    ("headers", "payer"),
    [
        ([(b"api-key", b"k"), (b"x-api-key", b"x")], b"k"),
        ([(b"Authorization", b"Bearer "), (b"api-key", b"k")], b"k"),
        ([(PROTOCOL, b"openai-insecure-api-key.w"), (b"api-key", b"k")], b"k"),
        ([(PROTOCOL, b"openai-insecure-api-key.w, realtime")], b"w"),
        ([(b"Authorization", b"Basic dTpw")], b"Basic dTpw"),
        ([(b"x-api-key", b"x")], None),
        ([(b"x-goog-api-key", b"x")], None),
    ],
)
def test_who_pays(headers, payer):
    """Authorization, else api-key, else the key of a WebSocket's subprotocol."""
    assert Callers().find(headers).payer == (payer and credential_id(payer))


def test_nothing_shown_is_nobody():
    """Empty credentials are none."""
    assert Callers().find([(b"Accept", b"x"), (b"Authorization", b"Bearer "), (b"api-key", b" ")]) is None


def test_the_configured_header_pays():
    """An upstream that takes its keys in another header goes by that one."""
    callers = Callers(auth_header=b"x-api-key")
    headers = [(b"Authorization", b"Bearer random"), (b"X-Api-Key", b"real")]
    assert callers.find(headers).payer == credential_id(b"real")


@pytest.mark.parametrize(
    "headers",
    [
        [REAL, (b"authorization", b"Bearer random")],
        [(b"api-key", b"a"), (b"Api-Key", b"b")],
        [(PROTOCOL, b"openai-insecure-api-key.a, openai-insecure-api-key.b")],
    ],
)
def test_two_credentials_of_one_kind_are_refused(headers):
    """Nobody knows which one the upstream takes, so neither can be charged."""
    with pytest.raises(MalformedRequest):
        Callers().find(headers)


@pytest.mark.parametrize(
    "other", [(b"api-key", b"real"), (b"authorization", b"bearer  real"), (b"api-key", b"")]
)
def test_the_same_key_twice_is_one_caller(other):
    """A key that stands in two places is still one."""
    assert Callers().find([REAL, other]) == Callers().find([REAL])


def test_spelling_of_a_key_does_not_change_its_id():
    """A caller gets no second bucket by writing the same key differently."""
    assert len({credential_id(c) for c in (b"Bearer k", b"bearer  k ", b"k")}) == 1
    assert credential_id(b"Bearer k") != credential_id(b"Basic k")


def test_further_headers_tell_callers_apart():
    """Callers with different values share neither an account nor an answer; without one, nothing changes."""
    callers = Callers([b"Ocp-Apim-Subscription-Key"])
    found = [callers.find([REAL, (b"ocp-apim-subscription-key", value)]) for value in (b"a", b"b", b"real")]
    found += [callers.find([REAL]), callers.find([(b"ocp-apim-subscription-key", b"a")])]
    assert len({each.payer for each in found}) == len({each.credential for each in found}) == 5
    assert None not in {each.payer for each in found}
    assert callers.find([REAL]) == Callers().find([REAL])


def test_further_headers_before_a_key_of_ours():
    """If keys of ours go upstream only these headers say who called."""
    callers = Callers([b"x-user"])
    assert callers.further([REAL]) == b""
    assert callers.further([REAL, (b"X-User", b"a")]) != callers.further([REAL, (b"X-User", b"b")])
    assert Callers().further([(b"X-User", b"a")]) == b""
