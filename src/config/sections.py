"""The sections of the settings, with all their keys. Every key has a default that serves."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from llm_backend.application.ports.rate_limiter import RateLimit
from llm_backend.config.checking import Section
from llm_backend.config.faults import zeros
from llm_backend.config.reading import ApiKey
from llm_backend.config.values import Port, Size
from llm_backend.domain.secrets import Secret

SHORTEST_SECRET: Final = 32
PUBLISHED_SECRET: Final = "S3cureK3y#2024!AIsafety"  # in the documentation of the old product, so everybody knows it
HOW_TO_MAKE_A_SECRET: Final = (
    "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))', "
    "or leave it empty and one is made at the first start"
)


_MIB: Final = 1024 * 1024


class Server(Section, frozen=True, kw_only=True):
    """Where and how HTTP is served."""

    host: str = "127.0.0.1"
    port: Port = Port(8080)
    framing: Literal["auto", "plain", "sse"] = "auto"
    """How answers are streamed: `auto` goes by the Accept header, the others force one framing."""
    documentation: bool = True
    """Whether the OpenAPI document and its page are served."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call; none by default."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For is believed; `*` alone believes everybody."""
    header_timeout: timedelta = timedelta(seconds=10)
    """How long the head of a request may take to arrive."""
    body_timeout: timedelta = timedelta(seconds=20)
    """How long a body may pause on its way here."""
    reading_timeout: timedelta = timedelta(seconds=60)
    """How long a client may take nothing of a reply, once more than 64 KiB of it wait in the process."""
    keep_alive: timedelta = timedelta(seconds=15)
    """How often a silent event stream gets a comment line."""
    shutdown_grace: timedelta = timedelta(seconds=30)
    """How long running answers and jobs may go on after SIGTERM."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        for index, origin in enumerate(self.cors_origins):
            if origin != "*" and not origin.startswith(("http://", "https://")):
                yield f"cors_origins[{index}]", "must be an origin such as https://chat.example.org"
        for index, proxy in enumerate(self.trusted_proxies):
            if proxy and not _is_network(proxy) and tuple(self.trusted_proxies) != ("*",):
                yield f"trusted_proxies[{index}]", "must be an address, or a network such as 10.0.0.0/8"
        if not self.host.strip():
            yield "host", "must name an address to listen on, such as 127.0.0.1"
        yield from zeros(self, "header_timeout", "body_timeout", "reading_timeout", "keep_alive")


def _is_network(text: str) -> bool:
    """As uvicorn reads it, to whom anything else is the name of a socket, which no proxy ever has."""
    try:
        (ip_network if "/" in text else ip_address)(text)
    except ValueError:
        return False
    return True


class Log(Section, frozen=True, kw_only=True):
    """What is written about the work. Never bodies, never secrets."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is readable on a terminal and JSON elsewhere."""


class Redis(Section, frozen=True, kw_only=True):
    """Where login throttles and cached summaries are shared; without an address they stay in the process.

    Revocations are in the database and looked at on every request, so that an outage here never revives a token.
    """

    address: Secret | None = None  # as it may contain a password
    """`localhost:6379`, or a URL that begins with redis://, rediss:// or unix://. Of a cluster, those of several of its
    servers, between commas."""
    cluster: bool = False
    """Whether it is a Redis Cluster."""
    password: Secret | None = None
    db: int = 0

    def _faults(self) -> Iterator[tuple[str, str]]:
        addresses = self._addresses
        if self.address is not None and not all(map(_is_redis, filter(None, addresses))):
            yield (
                "address",
                "must be of the form localhost:6379, or redis://user:password@host:port (quoted as in URLs)",
            )
        if not self.cluster and len(addresses) > 1:
            yield "address", "must be one; several are those of a Redis Cluster, with `cluster: true`"
        if self.cluster and not all(addresses):
            yield "address", "must be those of servers of the cluster, such as node-1:6379,node-2:6379"
        if self.cluster and self.db:
            yield "db", "must be 0, as a Redis Cluster has no other"

    @property
    def place(self) -> str:
        """The address as it may be shown: without user and password."""
        return ",".join(map(_without_credentials, self._addresses))

    @property
    def _addresses(self) -> list[str]:
        return [address.strip() for address in (self.address.reveal() if self.address else "").split(",")]


def _without_credentials(address: str) -> str:
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


class Sqlite(Section, frozen=True, kw_only=True):
    """The embedded database. The keys about connections are the old product's and have no effect."""

    path: Path | None = None
    """`llm_backend.db` in the data folder, unless it says something else."""
    max_open_conns: int | None = None
    max_idle_conns: int | None = None
    conn_max_lifetime: timedelta | None = None
    busy_timeout: timedelta = timedelta(seconds=5)

    def _faults(self) -> Iterator[tuple[str, str]]:
        if str(self.path) == ":memory:":
            yield "path", "must be a file: what is kept in memory is gone with each connection"


class Database(Section, frozen=True, kw_only=True):
    """A PostgreSQL server, which takes the place of SQLite."""

    url: Secret | None = None
    """postgresql+asyncpg://user:password@host/name; hidden, as it has a password in it."""
    pool_min: int = 1
    """Connections for reads that are made at the start and kept."""
    pool_max: int = 12
    """All connections of one process together."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """Also for one that is in use to become free."""
    statement_timeout: timedelta = timedelta(seconds=30)
    lock_timeout: timedelta = timedelta(seconds=5)
    """How long a row that somebody else is changing is waited for."""

    @property
    def place(self) -> str:
        """`host/name`, as it may be shown: without user and password."""
        url = urlsplit(self.url.reveal() if self.url else "")
        return f"{url.netloc.rpartition('@')[2]}{url.path}"

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.url is not None and not _is_database(self.url.reveal()):
            yield "url", "must be of the form postgresql+asyncpg://user:password@host/name"
        if self.pool_max < 3:
            yield "pool_max", "must be at least 3"
        if self.pool_min > self.pool_max:
            yield "pool_min", "must not be more than pool_max"
        yield from zeros(self, "connect_timeout", "statement_timeout", "lock_timeout")


class ObjectStorage(Section, frozen=True, kw_only=True):
    """How s3://… is reached, wherever one is named; without keys, in the way of the place (a role of the machine)."""

    endpoint: str | None = None
    """http://127.0.0.1:9000 or the like; Amazon's own unless it says something else."""
    region: str = "us-east-1"
    access_key: ApiKey = None
    secret_key: ApiKey = None
    allow_http: bool = False
    """Whether the endpoint may be spoken to without encryption."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.endpoint is not None:
            if not self.endpoint.startswith(("http://", "https://")) or "@" in self.endpoint:
                yield "endpoint", "must be a URL such as https://s3.example.org, without user and password"
            elif self.endpoint.startswith("http://") and not self.allow_http:
                yield "endpoint", "is not encrypted; allow_http: true allows that"
        if (self.access_key is None) != (self.secret_key is None):
            yield "secret_key", "and access_key go together; one of them is missing"


class Jwt(Section, frozen=True, kw_only=True):
    """How tokens are signed."""

    secret: Secret | None = None
    """At least 32 bytes. Without one, a secret is made at the first start and kept in the data folder."""
    previous: tuple[Secret, ...] = ()
    """Secrets of before: they sign nothing, but tokens that they signed are good until their end."""
    ttl: timedelta = timedelta(hours=24)

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.secret is not None:
            yield from _signing_secret_faults("secret", self.secret)
        for index, secret in enumerate(self.previous):
            yield from _signing_secret_faults(f"previous[{index}]", secret)
        yield from zeros(self, "ttl")


def _signing_secret_faults(key: str, secret: Secret) -> Iterator[tuple[str, str]]:
    text = secret.reveal()
    if text == PUBLISHED_SECRET:
        yield key, f"is published in the documentation of the old product; {HOW_TO_MAKE_A_SECRET}"
    elif len(text.encode()) < SHORTEST_SECRET:
        yield key, f"has fewer than {SHORTEST_SECRET} bytes; {HOW_TO_MAKE_A_SECRET}"


class Answers(Section, frozen=True, kw_only=True):
    """How running answers are kept."""

    checkpoint_interval: timedelta = timedelta(milliseconds=500)
    checkpoint_size: Size = Size(2048)
    kept_for: timedelta = timedelta(hours=24)
    """How long the stream of a finished answer can be read again; that of a response can as long as it is stored."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from zeros(self, "checkpoint_interval")


class Jobs(Section, frozen=True, kw_only=True):
    """How documents are read in."""

    concurrency: int = 8
    """Jobs that one process does at the same time; 0 leaves them to others, such as `llm-backend worker`. Half of them
    wait for the search index at any time, which takes what has gathered 13 times a second."""
    attempts: int = 5
    """How often one is tried that fails by what may pass, such as an embedding server that is away."""
    first_pause: timedelta = timedelta(seconds=1)
    """Before the second attempt; it doubles from one to the next."""
    lease: timedelta = timedelta(seconds=15)
    """For how long a process may be silent before others take its jobs."""
    failures_kept_for: timedelta = timedelta(days=7)
    """How long one can ask why a document failed."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.concurrency < 0:
            yield "concurrency", "must not be negative"
        if self.attempts < 1:
            yield "attempts", "must be at least 1"
        if self.lease < timedelta(seconds=1):
            yield "lease", "must be at least 1s"


class Limits(Section, frozen=True, kw_only=True):
    """What one client may take; null lifts a limit."""

    body: Size | None = Size(_MIB)
    prompt: Size | None = Size(16 * _MIB)
    """Of a body under `/v1` that goes on to a model: pictures are in it."""
    upload: Size | None = Size(64 * _MIB)
    streams_per_user: int | None = 16
    completions_per_user: int | None = 128
    """At once, under `/v1`: a front-end that asks for many people has one key."""
    login_failures: RateLimit | None = RateLimit(count=10, period=timedelta(minutes=15))
    """Of one account from one address. Each alone, the account or the address, may fail ten times as often."""
    registrations_per_address: RateLimit | None = RateLimit(count=60, period=timedelta(hours=1))
    idempotency_kept_for: timedelta = timedelta(hours=24)


def _is_redis(address: str) -> bool:
    url = address if "://" in address else f"redis://{address}"
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return bool(parts.path)
        is_database = parts.path.removeprefix("/").isdecimal() or parts.path in {"", "/"}
        return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and is_database and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _is_database(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "postgresql+asyncpg" and parts.path not in {"", "/"} and parts.port != 0
    except ValueError:  # a port that is none
        return False
