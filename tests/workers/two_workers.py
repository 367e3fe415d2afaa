"""A supervisor and two workers that share their calls, over real socket pairs, led by hand."""

from functools import partial

from fakes import SteppedReactor
from workers.links import linked

from openai_proxy.net.handover import Handover, handover_pair
from openai_proxy.workers.link import Link
from openai_proxy.workers.messages import CALL_CLAIM, CALL_CLOSED, CALL_FIND, CALL_OFFERED
from openai_proxy.workers.shared_calls import CallServer, SupervisedCalls


class Process:
    """A worker, as the supervisor knows it."""


class TwoWorkers:
    """A supervisor and two workers in one process; `make` makes what a worker has, from its `OtherCalls`."""

    def __init__(self):
        self.reactor = SteppedReactor()
        self.server = CallServer(self.reactor)
        self.processes, self.links, self.calls, self.workers = [], [], [], []
        for _ in range(2):
            process = Process()
            here = Link(
                {
                    CALL_OFFERED: partial(self.server.offer, process),
                    CALL_CLOSED: partial(self.server.close, process),
                },
                {
                    CALL_FIND: partial(self.server.find, process),
                    CALL_CLAIM: partial(self.server.claim, process),
                },
                partial(self.server.forget, process),
            )
            there = Link({}, {}, lambda: None)
            self.links.append(linked(here, there))
            ours, theirs = handover_pair()
            process.link = here
            process.handover = Handover(self.reactor, ours, partial(self.server.pass_on, process))
            self.calls.append(SupervisedCalls(there, self.reactor))
            self.calls[-1].start(theirs)
            self.processes.append(process)
            self.workers.append(self.make(self.calls[-1]))

    def turn_until(self, condition):
        self.reactor.until(condition)

    def close(self):
        for each in (*self.calls, *(process.handover for process in self.processes)):
            (each.stop if isinstance(each, SupervisedCalls) else each.close)()
        self.reactor.close()
