"""The address of a Redis server, read from its URL. Pure."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from attrs import field, frozen


@frozen
class RedisAddress:
    """The address and credentials of a Redis; `db` None means the server's default, 0."""

    host: str
    port: int = 6379
    tls: bool = False
    db: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def account(self) -> str:
        """The server, the database and the user, without the password: with another one it is the same store."""
        return f"{self.username or ''}@{self}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db or 0}"


def parse_redis_url(url: str) -> RedisAddress:
    """Parse `redis://[[user]:password@]host[:port][/db]`, or `rediss://` for TLS.

    Raises ValueError without the URL in its message, because it may contain a password.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port or 6379
    except ValueError:
        raise ValueError("a Redis URL is redis://host:port/db: its host or port cannot be read") from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("a Redis URL starts with redis:// or rediss://")
    if not parts.hostname:
        raise ValueError("a Redis URL names a host: redis://host:port/db")
    if parts.query or parts.fragment:
        raise ValueError("a Redis URL has no query and no fragment")
    path = parts.path.strip("/")
    if path and not (path.isascii() and path.isdigit()):
        raise ValueError("the path of a Redis URL is the number of its database")
    return RedisAddress(
        host=parts.hostname,
        port=port,
        tls=parts.scheme == "rediss",
        db=int(path) if path else None,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )
