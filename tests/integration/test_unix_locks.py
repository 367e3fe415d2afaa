"""Unix sockets whose lock a process left behind that had our number: in a container, each life has the same."""

import os
import socket

import pytest
import pytest_twisted
from twisted.internet import reactor as real_reactor
from twisted.internet.protocol import Factory

from openai_proxy.net.endpoints import endpoint
from openai_proxy.net.listening import StartError, listen
from openai_proxy.net.shared_ports import hold
from openai_proxy.net.unix_locks import remove_own_remains


@pytest.fixture
def path():
    """A path short enough for a socket."""
    name = f"/tmp/lock-{os.getpid()}.sock"
    yield name
    for each in (name, name + ".lock"):
        if os.path.lexists(each):
            os.unlink(each)


def quiet():
    factory = Factory()
    factory.noisy = False
    return factory


def leave_behind(path, pid):
    """Leave what a `kill -9` leaves: a socket that nobody listens at, and its lock."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(path)
    os.symlink(str(pid), path + ".lock")


def can_connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


@pytest.mark.parametrize("description", ["unix:{}", "unix:{}:mode=600", "haproxy:unix:{}"])
@pytest_twisted.ensureDeferred
async def test_a_former_life_with_our_number_keeps_nobody_out(path, description):
    """As PID 1 of a container, the daemon never started again after it was killed."""
    leave_behind(path, os.getpid())
    port = listen(real_reactor, description.format(path), quiet())
    try:
        assert can_connect(path)
    finally:
        await port.stopListening()
    assert not os.path.lexists(path)
    assert not os.path.lexists(path + ".lock")


@pytest_twisted.ensureDeferred
async def test_a_lock_without_its_socket_keeps_nobody_out(path):
    """Somebody has removed the one and not the other."""
    os.symlink(str(os.getpid()), path + ".lock")
    port = listen(real_reactor, f"unix:{path}", quiet())
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_supervisor_of_workers_is_not_kept_out_either(path):
    """It binds before it listens."""
    leave_behind(path, os.getpid())
    port = hold(real_reactor, f"unix:{path}")
    await port.stopListening()


def test_a_lock_of_somebody_else_is_named(path):
    """`Cannot acquire lock` said neither whose lock it is nor what to do."""
    leave_behind(path, os.getppid())
    with pytest.raises(
        StartError, match=rf"process {os.getppid()} holds {path}\.lock; .*, remove this file$"
    ):
        listen(real_reactor, f"unix:{path}", quiet())
    assert os.path.lexists(path)


def test_another_container_that_listens_there_keeps_its_socket(path):
    """Two share a directory, and both are PID 1."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        fd = os.dup(other.fileno())
    with socket.socket(fileno=fd) as other:
        os.symlink(str(os.getpid()), path + ".lock")
        remove_own_remains(path)
        assert can_connect(path)
        assert os.path.lexists(path + ".lock")


@pytest.mark.parametrize(
    "opens", [lambda of: hold(real_reactor, of), lambda of: listen(real_reactor, of, quiet())]
)
@pytest_twisted.ensureDeferred
async def test_one_path_twice_is_refused_as_before(path, opens):
    """The second port took the socket away from the first, which does not listen yet if there are workers."""
    port = opens(f"unix:{path}")
    try:
        with pytest.raises(StartError, match="holds"):
            opens(f"unix:{path}:mode=600")
        assert os.path.lexists(path)
    finally:
        await port.stopListening()


def test_what_is_no_socket_stays(path):
    """A file by mistake is nothing to remove; and without a lock nothing is."""
    with open(path, "w") as file:
        file.write("notes")
    os.symlink(str(os.getpid()), path + ".lock")
    remove_own_remains(path)
    with open(path) as file:
        assert file.read() == "notes"
    assert endpoint(real_reactor, f"unix:{path}:lockfile=0", quiet())


class Roomy(Factory):
    """A site has this; its ports get a class of our own."""

    noisy = False
    room = 10


@pytest.mark.parametrize("also_the_lock", [False, True])
@pytest.mark.parametrize(
    "opens", [lambda of: hold(real_reactor, of), lambda of: listen(real_reactor, of, Roomy())]
)
@pytest_twisted.ensureDeferred
async def test_a_port_whose_path_was_removed_closes(path, opens, also_the_lock):
    """It stayed open and locked, and with workers the log had a traceback at the end."""
    port = opens(f"unix:{path}")
    os.unlink(path)
    if also_the_lock:
        os.unlink(path + ".lock")
    await port.stopListening()
    assert not port.connected
    assert not os.path.lexists(path + ".lock")


@pytest.mark.parametrize(
    "opens", [lambda of: hold(real_reactor, of), lambda of: listen(real_reactor, of, Roomy())]
)
@pytest_twisted.ensureDeferred
async def test_a_port_whose_path_cannot_be_removed_closes(path, opens):
    """Here a directory is in its place; after `--uid` it may be in a directory of root's."""
    port = opens(f"unix:{path}")
    os.unlink(path)
    os.mkdir(path)
    try:
        await port.stopListening()
    finally:
        os.rmdir(path)
    assert not port.connected
    assert not os.path.lexists(path + ".lock")
