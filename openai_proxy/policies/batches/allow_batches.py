"""Let a key with rules run a batch only if the proxy has read its input file.

The file was read when the key uploaded it (`read_batch_file`). The request
carries the summary of the file, for the stages that check its models and its
cost. Runs after the body has been read, and before those stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from ...exchange.access_errors import EndpointNotAllowed, ModelNotAllowed, NotMeasured
from ...exchange.errors import OwnersUnavailable
from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from ...logs import logger
from ...wire.endpoint_rules import METERED, EndpointAccess, EndpointRules
from ..authorize.named_models import top_level_values
from .input import BatchInput, endpoint_of

log = logger(__name__)

_LONGEST_ID = 256
_UNKNOWN = (
    "openai-proxy has not read the input file of this batch, and this API key has {rule}: upload"
    " the file with this key through this proxy (POST /files, a form with purpose=batch, not compressed), then create"
    " the batch with the id of the answer."
)
_UNREAD = (
    "openai-proxy could not read the input file of this batch, and this API key has {rule}: {problem}. Correct the"
    " file, and upload it again."
)
_FEE = (
    "openai-proxy cannot measure what this batch costs, and this API key has a budget: {what}. The operator can set"
    " budget_unmeasured = 'allow' for the key."
)
_measured = EndpointRules((METERED,))


@frozen
class BatchRule:
    """The rules for the batches of one key.

    `rule` says in words why its files are read. `access` are the endpoints that it may call.
    `lists_models`: it has an allow-list of models. `measures`: it has a budget,
    and what cannot be measured is refused. With neither of the two, a file that
    was not read passes.
    """

    owner: str
    rule: str
    access: EndpointAccess
    lists_models: bool
    measures: bool

    def refusal(self, message: str) -> NotMeasured | ModelNotAllowed:
        """Return the error for a file that cannot be judged."""
        kind = NotMeasured if self.measures else ModelNotAllowed
        return kind(message, param="input_file_id")


class FindsInputs(Protocol):
    """A store of the summaries of input files."""

    def find(self, name: str) -> Deferred[tuple[str, BatchInput] | None]: ...


class AllowBatches:
    """Put `batch_input` on requests that create a batch, or refuse them. `rules` are by `credential_id`."""

    def __init__(self, rules: Mapping[str, BatchRule], inputs: FindsInputs) -> None:
        self._rules = dict(rules)
        self._inputs = inputs

    def concerns(self, kind: Kind) -> bool:
        return kind.method == b"POST" and kind.named == "batches"

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        rule = self._rules.get(request.exchange.credential_id)
        if rule is None or request.method != b"POST" or request.endpoint != "batches":
            return await forward(request)
        contents = await self._find(request, rule.owner)
        if contents is None or contents.problem is not None:
            if rule.lists_models or rule.measures:
                message = _UNKNOWN if contents is None else _UNREAD
                problem = None if contents is None else contents.problem
                raise rule.refusal(message.format(rule=rule.rule, problem=problem))
            return await forward(request)
        self._check(request, rule, contents)
        return await forward(request.evolve(batch_input=contents))

    async def _find(self, request: ProxyRequest, owner: str) -> BatchInput | None:
        """Return the summary of the file that the request names, if the file belongs to the owner."""
        if request.document is None:
            return None
        names = top_level_values(request.json, "input_file_id")
        name = names[0] if len(set(map(repr, names))) == 1 else None
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
            return None
        try:
            found = await self._inputs.find(name)
        except CancelledError:
            raise
        except Exception as error:
            log.debug("batches' input files cannot be looked up: {reason}", reason=str(error))
            raise OwnersUnavailable("openai-proxy cannot look up the input file of this batch now.") from None
        return found[1] if found is not None and found[0] == owner else None

    @staticmethod
    def _check(request: ProxyRequest, rule: BatchRule, contents: BatchInput) -> None:
        endpoints = set(contents.endpoints)
        for url in top_level_values(request.json, "endpoint"):
            named = endpoint_of(url)
            if named is None:
                raise EndpointNotAllowed(param="endpoint")
            endpoints.add(named[0])
        for endpoint in sorted(endpoints):
            if not rule.access.allows("POST", endpoint):
                raise EndpointNotAllowed(
                    "openai-proxy does not let this API key call an endpoint that this batch names.",
                    param="endpoint",
                )
            if rule.measures and not _measured.cover("POST", endpoint):
                raise NotMeasured(
                    _FEE.format(what="not all of its endpoints report what they use"), param="endpoint"
                )
        if rule.measures and contents.unmeasured is not None:
            raise NotMeasured(_FEE.format(what=contents.unmeasured), param="input_file_id")
