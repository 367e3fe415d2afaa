"""What only a peer of another kind does over TLS: OpenSSL's own client, by its commands for keys and handshakes."""

import os
import subprocess

import pytest
import trustme

LOCAL = "interface=127.0.0.1"
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def secure(start, tmp_path):
    """A daemon with a port of TLS."""
    certificate = trustme.CA().issue_cert("localhost")
    both = tmp_path / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(both))
    return start(ports=[f"ssl:0:{LOCAL}:privateKey={both}"])


class OpenSSL:
    """`openssl s_client`, connected; a line that begins with k, K or R is a command of its own."""

    def __init__(self, port, *options):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.seen = b""

    def say(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read_until(self, mark):
        """Return what came up to `mark`; fails at the end."""
        while mark not in self.seen:
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, self.seen
            self.seen += more
        found, _, self.seen = self.seen.partition(mark)
        return found

    def close(self):
        self.process.kill()
        self.process.communicate()


def test_keys_are_renewed_and_no_handshake_begins_anew(secure):
    """TLS 1.3: its own (k), or ours too (K; RFC 8446 §4.6.3). TLS 1.2 had the other, and others are served after it."""
    for command in (b"k\n", b"K\n"):
        client = OpenSSL(secure.port, "-tls1_3")
        client.read_until(b"---\n")
        for _ in range(3):
            client.say(REQUEST)
            assert b"HTTP/1.1 200" in client.read_until(b"}")
            client.say(command)
            client.read_until(b"KEYUPDATE")
        client.close()
    client = OpenSSL(secure.port, "-tls1_2")
    client.read_until(b"---\n")
    client.say(b"R\n")
    client.read_until(b"no renegotiation")
    client.close()
    client = OpenSSL(secure.port)
    client.say(REQUEST)
    client.read_until(b"HTTP/1.1 200")
    client.close()
