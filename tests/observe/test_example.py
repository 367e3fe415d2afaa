"""The example of a third party's observer works as its README says."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen

EXAMPLE = Path(__file__).parents[2] / "examples" / "openai-proxy-slow-requests"

USE = """
import json, sys
from twisted.internet.task import Clock
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.factories import build_observers, known_factories
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.publisher import ExchangePublisher

observers = build_observers(["slow:file=" + sys.argv[1] + ":over_s=2"], ObserverContext(Clock()))
publisher = ExchangePublisher(observers, Clock())
publisher.start()
for ended_at in (1.0, 5.0):
    exchange = Exchange(started=0.0, timestamp=0.0, method="GET", path="/")
    exchange.endpoint = "models"
    exchange.end(Outcome.COMPLETE, ended_at)
    publisher.ending(exchange)
publisher.stop()
print(json.dumps(sorted(known_factories())))
"""


def used(tmp_path, path):
    program = f"import sys; sys.path.insert(0, {str(path)!r})\n{USE}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "slow.txt")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(done.stdout) == ["console", "exchange-log", "json", "log", "otel", "prometheus", "slow"]
    (line,) = (tmp_path / "slow.txt").read_text().splitlines()
    assert line.endswith("models 5.000")


@pytest.mark.packaging
def test_installed_example_is_found_by_its_name(tmp_path):
    """Installed with pip, a stranger's package adds an observer."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(source)],
        check=True,
    )
    used(tmp_path, site)


def test_example_is_found_on_the_path(tmp_path):
    """The example as it lies there adds an observer."""
    used(tmp_path, shutil.copytree(EXAMPLE, tmp_path / "source"))


@frozen
class Slow:
    id = "x"
    endpoint = "models"
    duration_s = 100.0


def test_example_keeps_nothing_that_a_full_disk_does_not_take():
    """What people copy does not fill the memory while the disk is full."""
    observer = runpy.run_path(str(EXAMPLE / "slow_requests.py"))["SlowRequests"]("/dev/full", 1.0)
    observer.start()
    observer({"exchange": Slow()})
    with pytest.raises(OSError, match="No space left"):
        observer.flush()
    observer.flush()
    observer.stop()
