"""What is asked of sockets beside Twisted's transports."""

from fakes import Transport

from openai_proxy.sockets import prompt_writer, untaken_bytes


def test_transport_without_a_socket():
    """Where nothing can be known nothing waits, and writing is the transport's own."""
    transport = Transport()
    assert untaken_bytes(transport) == 0
    prompt_writer(transport)(b"x")
    assert transport.take() == b"x"


def test_wrapped_transport_is_looked_through():
    """A wrapper without a socket below it ends the search."""

    class Wrapper:
        transport = Transport()

    assert untaken_bytes(Wrapper()) == 0
