"""Azure's append blobs get each line once, whatever becomes of requests and answers."""

import os
import tempfile
from collections import Counter
from types import SimpleNamespace

import pytest
from azure.core.exceptions import AzureError
from hypothesis import given
from hypothesis import strategies as st
from observe.exchange_log.stores import FakeBlobs

from openai_proxy.observe.exchange_log.remote.append_blobs import AppendBlobs, service_client
from openai_proxy.observe.exchange_log.remote.claims import claim_own
from openai_proxy.observe.exchange_log.remote.deliveries import Deliveries
from openai_proxy.observe.exchange_log.remote.spool import Spool

NAME = "m_20260101.jsonl"


class ShippingDaemon:
    """A daemon that spools and ships, and the store; either can die and come back."""

    def __init__(self, directory, store=None, **options):
        self.directory = str(directory)
        self.store = store or FakeBlobs()
        self.options = options
        self.begin()

    def begin(self):
        self.spool = Spool(claim_own(self.directory), 1 << 30)
        self.spool.open()
        connect = lambda: AppendBlobs(self.store, "logs", **self.options)  # noqa: E731
        self.deliveries = Deliveries(self.spool, self.directory, connect)

    @property
    def instance(self):
        return os.path.basename(self.spool.directory)

    def die(self):
        self.spool._claim.release()

    def ship(self):
        try:
            self.deliveries.round()
        except AzureError:
            return False
        return True


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lines"), st.sampled_from(["a", "b"]), st.integers(1, 3)),
        st.tuples(st.just("faults"), st.lists(st.sampled_from(["", "refused", "lost"]), max_size=4)),
        st.just(("ship",)),
        st.just(("die",)),
        st.just(("forget",)),
    ),
    max_size=20,
)


@given(STEPS)
def test_every_line_once(steps):
    """Lost requests, lost answers, kills and a forgetful store neither lose nor double a line."""
    with tempfile.TemporaryDirectory() as directory:
        daemon = ShippingDaemon(directory)
        count = 0
        for step in steps:
            if step[0] == "lines":
                for _ in range(step[2]):
                    count += 1
                    daemon.spool.append(f"{step[1]}_20260101.jsonl", b"%d\n" % count)
            elif step[0] == "faults":
                daemon.store.faults += step[1]
            elif step[0] == "ship":
                daemon.ship()
            elif step[0] == "die":
                daemon.die()
                daemon.begin()
            else:
                # As Azurite when it is killed: the newest of what it has acknowledged is gone.
                for name, blob in daemon.store.blobs.items():
                    del blob[len(blob) // 2 // 2 * 2 :]
                    daemon.store.metadata[name] = dict(daemon.store.metadata[name])
                daemon.spool.doubt()
        daemon.store.faults = []
        assert daemon.ship() or daemon.ship()
        daemon.die()
        lines = b"".join(daemon.store.blobs.values()).split()
        assert Counter(lines) == Counter(b"%d" % n for n in range(1, count + 1))


def test_first_blob_has_the_log_files_name(tmp_path):
    """Blobs are found by client, model and day, below the prefix."""
    daemon = ShippingDaemon(tmp_path, prefix="/logs/proxy/")
    daemon.spool.append(NAME, b"1\n")
    assert daemon.ship()
    assert daemon.store.blobs == {f"logs/proxy/{NAME}": b"1\n"}
    assert daemon.store.metadata[f"logs/proxy/{NAME}"] == {"writer": daemon.instance}


def test_foreign_blobs_are_left_alone(tmp_path):
    """A blob has one writer: a second daemon takes another name, and finds it again."""
    daemon = ShippingDaemon(tmp_path)
    daemon.store.put(NAME, b"0\n", writer="another")
    for line in (b"1\n", b"2\n"):
        daemon.spool.append(NAME, line)
        assert daemon.ship()
        daemon.die()
        daemon.begin()
    assert daemon.store.blobs == {NAME: b"0\n", f"m_20260101.{daemon.instance}.jsonl": b"1\n2\n"}


def test_full_blobs_are_followed_by_others(tmp_path):
    """Azure takes 50,000 appends to a blob: the next one begins before."""
    daemon = ShippingDaemon(tmp_path, max_blocks=2)
    for n in range(5):
        daemon.spool.append(NAME, b"%d\n" % n)
        assert daemon.ship()
        if n == 3:
            daemon.die()
            daemon.begin()
    other = f"m_20260101.{daemon.instance}"
    assert daemon.store.blobs == {NAME: b"0\n1\n", f"{other}.jsonl": b"2\n3\n", f"{other}.2.jsonl": b"4\n"}


def test_longest_line_goes_up_in_blocks(tmp_path):
    """A line longer than a block arrives whole, also if the middle fails."""
    daemon = ShippingDaemon(tmp_path)
    line = b"x" * 9_000_000 + b"\n"
    daemon.spool.append(NAME, line)
    daemon.store.faults = ["", "", "lost"]
    assert not daemon.ship()
    assert daemon.ship()
    assert daemon.store.blobs == {NAME: line}
    assert daemon.store.appends == 3


def test_deleted_blob_is_made_anew(tmp_path):
    """Somebody who removes a blob does not stop the log."""
    daemon = ShippingDaemon(tmp_path)
    daemon.spool.append(NAME, b"1\n")
    assert daemon.ship()
    daemon.spool.expire(float("inf"))
    del daemon.store.blobs[NAME]
    daemon.spool.append(NAME, b"2\n")
    assert not daemon.ship()
    assert daemon.ship()
    assert daemon.store.blobs == {NAME: b"2\n"}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (
            {"account_url": "https://a.blob.core.windows.net", "account_key": "a2V5"},
            "https://a.blob.core.windows.net/",
        ),
        (
            {"account_url": "https://a.blob.core.windows.net", "sas_token": "?sig=x"},
            "https://a.blob.core.windows.net/?sig=x",
        ),
        (
            {"connection_string": "AccountName=b;AccountKey=a2V5;EndpointSuffix=core.windows.net"},
            "https://b.blob.core.windows.net/",
        ),
    ],
)
def test_client_has_what_adlfs_found(options, url):
    """Account and credentials are those that fsspec's options and variables mean."""
    empty = dict.fromkeys(("connection_string", "sync_credential", "account_key", "sas_token", "account_url"))
    client = service_client(SimpleNamespace(**{**empty, **options}))
    assert client.url == url
    client.close()
