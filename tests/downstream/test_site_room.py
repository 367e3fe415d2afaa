"""How many connections are open at once: served, refused with a 503, waiting in the kernel."""

from fakes import Downstream

GET = b"GET /v1/models HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"


class Port:
    """A port that is read, or not."""

    connected, disconnecting = True, False

    def __init__(self):
        self.reading = True

    def stopReading(self):
        self.reading = False

    def startReading(self):
        self.reading = True


def edge_and_port(connections, sockets):
    edge = Downstream(connections=connections)
    edge.site.max_sockets = sockets
    edge.site.ports.append(Port())
    return edge, edge.site.ports[0]


def test_accepting_stops_where_descriptors_end():
    """Whoever is beyond waits in the kernel, and is accepted as soon as somebody leaves."""
    edge, port = edge_and_port(connections=2, sockets=3)
    first, _ = edge.connect(), edge.connect()
    assert (edge.site.room, port.reading) == (1, True)
    edge.connect()
    assert (edge.site.room, port.reading) == (0, False)
    first.lose()
    assert (edge.site.room, port.reading) == (1, True)


def test_refused_connections_take_no_place_of_served_ones():
    """When a served one leaves, the next one is served, however many wait for their 503."""
    edge, _ = edge_and_port(connections=1, sockets=9)
    first = edge.connect()
    refused = [edge.connect() for _ in range(3)]
    first.lose()
    assert edge.connect().send(GET).startswith(b"HTTP/1.1 200 ")
    for each in refused:
        assert each.send(GET).startswith(b"HTTP/1.1 503 ")


def test_a_refused_connection_that_asks_nothing_is_closed_soon():
    """Silent ones must not keep others from their 503."""
    edge, port = edge_and_port(connections=1, sockets=2)
    edge.connect()
    silent = edge.connect()
    assert not port.reading
    for _ in range(12):
        edge.clock.advance(0.25)
    assert silent.transport.ended is not None


def test_a_closed_port_is_left_alone():
    """In a drain the ports close while connections end."""
    edge, port = edge_and_port(connections=1, sockets=1)
    client = edge.connect()
    port.connected = False
    client.lose()
    assert not port.reading
