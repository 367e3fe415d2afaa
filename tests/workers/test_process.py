"""A worker's process as the supervisor sees it."""

from twisted.internet.error import ProcessExitedAlready

from openai_proxy.workers.process import WorkerProcess


class Gone:
    """A process that has ended, while what it wrote is still being read."""

    def signalProcess(self, name):
        raise ProcessExitedAlready


def test_killing_a_process_that_has_just_ended_is_no_error():
    """Otherwise the supervisor's own end breaks off: no worker drains, the ports stay open."""
    process = WorkerProcess(1, None, lambda _: None)
    process.transport = Gone()
    process.kill()
