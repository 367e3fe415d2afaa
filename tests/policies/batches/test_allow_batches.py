"""A key with rules runs a batch only of an input file that is known, and may run."""

import json

import pytest
from cost.budgeted import NOON, balance_of, ledger, pricing
from fakes import Forward, exchange, outcome_of, through
from twisted.internet.defer import fail

from openai_proxy.cost.batch_inputs import MemoryInputs
from openai_proxy.cost.budget import Account, Balance, Budget
from openai_proxy.cost.keep_budget import KeepBudget
from openai_proxy.cost.refuse_unpriced import RefuseUnpriced
from openai_proxy.exchange.access_errors import EndpointNotAllowed, ModelNotAllowed, NotMeasured
from openai_proxy.exchange.errors import OwnersUnavailable
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.authenticate.keyring import ClientKey, Keyring
from openai_proxy.policies.authorize.allow_models import AllowModels
from openai_proxy.policies.batches.allow_batches import AllowBatches, BatchRule
from openai_proxy.policies.batches.input import BatchInput, ModelUse
from openai_proxy.policies.chains import compose
from openai_proxy.wire.endpoint_rules import EndpointAccess, EndpointRules
from openai_proxy.wire.request_json import outline

ACCESS = EndpointAccess(EndpointRules(["@metered", "POST batches", "images/generations"]))
KNOWN = BatchInput({"m": ModelUse(2, 0, 4)}, (), ("chat/completions",), 99)


def rule(**fields):
    given = {
        "owner": "key:alice",
        "rule": "a budget",
        "access": ACCESS,
        "lists_models": False,
        "measures": True,
    }
    return BatchRule(**{**given, **fields})


class BatchRules:
    """The stages for a key `alice`; a token of a batch costs half a dollar."""

    def __init__(self, models=None, **fields):
        self.inputs = MemoryInputs()
        self.inputs.keep("file-1", "key:alice", KNOWN)
        self.inputs.keep("file-2", "key:bob", KNOWN)
        prices = pricing()
        self.ledger = ledger()
        budgets = {"alice": Budget(10.0, "month")}
        keys = Keyring([ClientKey("alice", b"x" * 32, b"up", models)])
        self.stages = [
            AllowBatches({"alice": rule(**fields)}, self.inputs),
            AllowModels(keys),
            RefuseUnpriced(
                prices.may_be_priced, frozenset(["alice"]), frozenset(), False, budgets, self.ledger
            ),
            KeepBudget(self.ledger, budgets, prices.cost_usd, prices.settle, prices.batch_cost_usd),
        ]

    def create(self, body=None, key="alice", method=b"POST", at="batches", **members):
        """Return the request that went upstream, or the error."""
        given = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", **members}
        text = json.dumps(given).encode() if body is None else body
        document = outline(json.loads(text))[0] if text else None
        record = exchange(credential_id=key, key=key)
        record.timestamp = NOON
        request = ProxyRequest(method, b"/batches", [], text, record, document=document, endpoint=at)

        forward = Forward()
        error = outcome_of(through(compose(self.stages, forward), request))
        return error or forward.requests[0]

    @property
    def balance(self):
        return balance_of(self.ledger)


def test_a_known_file_runs_and_half_its_price_is_reserved():
    """Of the most that its lines ask for."""
    batches = BatchRules()
    assert batches.create().batch_input == KNOWN
    assert batches.balance == Balance(0.0, 2.0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"input_file_id": "file-3"}',
        b'{"input_file_id": "file-2"}',
        b'{"input_file_id": ["file-1"]}',
        b'{"input_file_id": ""}',
        b'{"input_file_id": "file-1", "Input_File_Id": "file-2"}',
        b'{"input_file_id": "file-1", "input_file_id": "file-2"}',
        b"{}",
        b"",
    ],
)
@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, NotMeasured),
        ({"lists_models": True, "measures": False, "rule": "a list of models"}, ModelNotAllowed),
    ],
)
def test_other_files_are_refused(body, fields, kind):
    """Unknown ones, another key's, and bodies that may be read in two ways; the words say what to do."""
    batches = BatchRules(**fields)
    error = batches.create(body)
    assert isinstance(error, kind)
    assert (error.status, error.param) == (403, "input_file_id")
    assert "upload" in error.message
    assert "file-" not in error.message
    assert batches.balance == Balance()


def test_a_file_that_could_not_be_read_is_refused_with_the_reason():
    """Whoever wrote it finds the line."""
    batches = BatchRules()
    batches.inputs.keep("file-1", "key:alice", BatchInput(problem="line 7 is no JSON object"))
    error = batches.create()
    assert isinstance(error, NotMeasured)
    assert "line 7 is no JSON object" in error.message


@pytest.mark.parametrize("name", ["input_file_id", "INPUT_FILE_ID"])
def test_any_spelling_names_the_file(name):
    """As for servers that ignore case."""
    assert BatchRules().create(json.dumps({name: "file-1"}).encode()).batch_input == KNOWN


@pytest.mark.parametrize(
    ("contents", "refused"),
    [
        (KNOWN, False),
        (BatchInput({"m": ModelUse(1), "n": ModelUse(1)}), True),
        (BatchInput({"m": ModelUse(1)}, ("n",)), True),
    ],
)
def test_every_model_must_be_allowed(contents, refused):
    """Of each line, and wherever a line names one."""
    batches = BatchRules(models=("m",), lists_models=True)
    batches.inputs.keep("file-1", "key:alice", contents)
    error = batches.create()
    assert isinstance(error, ModelNotAllowed) is refused
    if refused:
        assert "'n'" in error.message
        assert error.param == "model"


@pytest.mark.parametrize(
    ("contents", "members", "kind"),
    [
        (KNOWN, {"endpoint": "/v1/audio/speech"}, None),
        (KNOWN, {"endpoint": "/v1/files"}, EndpointNotAllowed),
        (KNOWN, {"endpoint": "elsewhere"}, EndpointNotAllowed),
        (KNOWN, {"endpoint": 7}, EndpointNotAllowed),
        (KNOWN, {"Endpoint": "/v1/files"}, EndpointNotAllowed),
        (KNOWN, {"endpoint": "/v1/images/generations"}, NotMeasured),
        (BatchInput({"m": ModelUse(1)}, (), ("files",)), {}, EndpointNotAllowed),
        (BatchInput({"m": ModelUse(1)}, (), ("images/generations",)), {}, NotMeasured),
        (BatchInput({"m": ModelUse(1)}, unmeasured="line 2 has tools"), {}, NotMeasured),
    ],
)
def test_endpoints_and_what_has_a_fee_are_judged_as_single_requests(contents, members, kind):
    """A batch is no way round what the key may call."""
    batches = BatchRules()
    batches.inputs.keep("file-1", "key:alice", contents)
    found = batches.create(**members)
    assert type(found) is (ProxyRequest if kind is None else kind)


def test_a_key_that_may_do_what_is_not_measured_runs_any_file():
    """Known ones are reserved all the same."""
    batches = BatchRules(measures=False)
    assert batches.create(input_file_id="file-3").batch_input is None
    assert batches.balance == Balance(0.0, 0.0)
    batches.inputs.keep("file-1", "key:alice", BatchInput(KNOWN.uses, unmeasured="line 2 has tools"))
    batches.create()
    assert batches.balance == Balance(0.0, 2.0)


def test_a_model_without_a_price_is_refused_once_something_is_spent():
    """As a single request for it."""
    batches = BatchRules()
    batches.inputs.keep("file-1", "key:alice", BatchInput({"m": ModelUse(1), "n": ModelUse(1)}))
    assert isinstance(batches.create(), ProxyRequest)
    batches.ledger.charge(Account("alice", "2026-11"), 0.5)
    error = batches.create()
    assert isinstance(error, NotMeasured)
    assert error.param == "model"


def test_a_store_that_fails_is_503():
    """Neither let through nor refused for good."""
    batches = BatchRules()
    batches.inputs.find = lambda name: fail(OSError("no"))
    assert isinstance(batches.create(), OwnersUnavailable)


@pytest.mark.parametrize(
    "fields",
    [{"key": "bob"}, {"method": b"GET", "body": b""}, {"at": "batches/{id}/cancel", "body": b"{}"}],
)
def test_other_callers_and_requests_are_left_alone(fields):
    """What is there already may be looked at and cancelled."""
    assert BatchRules().create(**fields).batch_input is None
