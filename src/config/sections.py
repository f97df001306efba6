"""The sections of the settings, with all their keys. Every key has a default that serves."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct, field

from llm_backend.application.ports.rate_limiter import RateLimit
from llm_backend.config.faults import refuse
from llm_backend.config.reading import ApiKey, read_struct
from llm_backend.config.trees import tree_of_mapping
from llm_backend.config.values import Port, Size
from llm_backend.domain.answers import LONGEST_ANSWER
from llm_backend.domain.secrets import Secret

LEXICAL_MODEL: Final = "hash-1024"
SHORTEST_SECRET: Final = 32
PUBLISHED_SECRET: Final = "S3cureK3y#2024!AIsafety"  # in the documentation of the old product, so everybody knows it
HOW_TO_MAKE_A_SECRET: Final = (
    "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))', "
    "or leave it empty and one is made at the first start"
)

_MIB: Final = 1024 * 1024


class Server(Struct, frozen=True, kw_only=True):
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
    """Addresses or networks whose X-Forwarded-For is believed."""
    header_timeout: timedelta = timedelta(seconds=10)
    """How long the head of a request may take to arrive."""
    body_timeout: timedelta = timedelta(seconds=20)
    """How long a body may pause on its way here."""
    keep_alive: timedelta = timedelta(seconds=15)
    """How often a silent event stream gets a comment line."""
    shutdown_grace: timedelta = timedelta(seconds=30)
    """How long running answers and jobs may go on after SIGTERM."""

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        for index, origin in enumerate(self.cors_origins):
            if origin != "*" and not origin.startswith(("http://", "https://")):
                yield f"cors_origins[{index}]", "must be an origin such as https://chat.example.org"
        if not self.keep_alive:
            yield "keep_alive", "must be longer than zero"


class Log(Struct, frozen=True, kw_only=True):
    """What is written about the work. Never bodies, never secrets."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is readable on a terminal and JSON elsewhere."""


class Redis(Struct, frozen=True, kw_only=True):
    """Where login throttles and cached summaries are shared; without an address they stay in the process.

    Revocations are in the database and looked at on every request, so that an outage here never revives a token.
    """

    address: str | None = None
    """`localhost:6379`, or a URL that begins with redis://, rediss:// or unix://."""
    password: Secret | None = None
    db: int = 0


class Sqlite(Struct, frozen=True, kw_only=True):
    """The embedded database. The keys about connections are the old product's and have no effect."""

    path: Path | None = None
    """`llm_backend.db` in the data folder, unless it says something else."""
    max_open_conns: int | None = None
    max_idle_conns: int | None = None
    conn_max_lifetime: timedelta | None = None
    busy_timeout: timedelta = timedelta(seconds=5)


class Database(Struct, frozen=True, kw_only=True):
    """A database server, which takes the place of SQLite."""

    url: Secret | None = None
    """postgresql+asyncpg://user:password@host/name; hidden, as it has a password in it."""

    def __post_init__(self) -> None:
        wrong = self.url is not None and not self.url.reveal().startswith("postgresql+asyncpg://")
        refuse([("url", "must begin with postgresql+asyncpg://")] if wrong else [])


class Jwt(Struct, frozen=True, kw_only=True):
    """How tokens are signed."""

    secret: Secret | None = None
    """At least 32 bytes. Without one, a secret is made at the first start and kept in the data folder."""
    ttl: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.secret is not None:
            text = self.secret.reveal()
            if text == PUBLISHED_SECRET:
                yield "secret", f"is published in the documentation of the old product; {HOW_TO_MAKE_A_SECRET}"
            elif len(text.encode()) < SHORTEST_SECRET:
                yield "secret", f"has fewer than {SHORTEST_SECRET} bytes; {HOW_TO_MAKE_A_SECRET}"
        if not self.ttl:
            yield "ttl", "must be longer than zero"


class Provider(Struct, frozen=True, kw_only=True):
    """A server of language models, or the built-in demonstration."""

    name: str
    kind: Literal["openai", "demo"] = "openai"
    """`openai` is any server that speaks OpenAI's chat completions."""
    base_url: str | None = None
    models: tuple[str, ...] = ()
    """Patterns such as `gpt-*`; the first provider with a matching one serves a model."""
    api_key: ApiKey = None
    needs_key: bool = True
    """False for servers that ask for none, as Ollama does: conversations then need no key of their own."""
    context_window: int = 32_768
    """Tokens that a question, its history and the answer may have together."""

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        if not self.models:
            yield "models", 'must name at least one model or pattern, such as ["gpt-*"]'
        if self.kind == "openai":
            yield from _url_faults(self.base_url)
        if self.context_window < 1024:
            yield "context_window", "must be at least 1024 tokens"


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long a provider may take; what takes longer ends the answer."""

    connect: timedelta = timedelta(seconds=10)
    first_token: timedelta = timedelta(seconds=60)
    idle: timedelta = timedelta(seconds=60)
    total: timedelta = timedelta(minutes=30)


# Part of every configuration that names no providers of its own. Written as in a file, so that keys come from the
# environment of whoever loads the settings.
DEFAULT_PROVIDERS: Final = (
    {
        "name": "openai",
        "base_url": "https://api.openai.com/v1",
        "models": ["gpt-*", "o*", "chatgpt-*"],
        "api_key": "${OPENAI_API_KEY}",
        "context_window": 128_000,
    },
    {
        "name": "zhipu",
        "base_url": "https://open.bigmodel.cn/api/paas/v4",
        "models": ["glm-*"],
        "api_key": "${ZHIPU_API_KEY}",
        "context_window": 128_000,
    },
    {"name": "demo", "kind": "demo", "models": ["demo"]},
)
DEFAULT_EMBEDDING_MODELS: Final = tuple(
    {
        "name": f"zhipu-{model}",
        "base_url": "https://open.bigmodel.cn/api/paas/v4",
        "model": model,
        "dimensions": 1024,
        "api_key": "${ZHIPU_API_KEY}",
    }
    for model in ("embedding-3", "embedding-2")
)


def _default_providers() -> tuple[Provider, ...]:
    return read_struct(Llm, tree_of_mapping({"providers": DEFAULT_PROVIDERS}), {}, source="The default").providers


class Llm(Struct, frozen=True, kw_only=True):
    """Who answers."""

    providers: tuple[Provider, ...] = field(default_factory=_default_providers)
    timeouts: Timeouts = Timeouts()
    longest_answer: Size = Size(LONGEST_ANSWER)
    """Counts characters, whatever the unit says: 4MiB are 4,194,304 of them, and no answer may be longer."""
    longest_line: Size = Size(_MIB)
    """Of a provider's event stream."""
    retries: int = 2
    """Further attempts when a provider fails before its first token."""

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from _repeated("providers", [provider.name for provider in self.providers])
        if self.longest_answer > LONGEST_ANSWER:
            yield "longest_answer", f"must be at most {LONGEST_ANSWER // _MIB}MiB; no answer may have more characters"


class Answers(Struct, frozen=True, kw_only=True):
    """How running answers are kept."""

    checkpoint_interval: timedelta = timedelta(milliseconds=500)
    checkpoint_size: Size = Size(2048)
    kept_for: timedelta = timedelta(hours=24)
    """How long the stream of a finished answer can be read again."""


class Jobs(Struct, frozen=True, kw_only=True):
    """How documents are read in."""

    concurrency: int = 4
    """Jobs that one process does at the same time."""
    attempts: int = 5
    """How often one is tried that fails by what may pass, such as an embedding server that is away."""
    first_pause: timedelta = timedelta(seconds=1)
    """Before the second attempt; it doubles from one to the next."""
    lease: timedelta = timedelta(seconds=15)
    """For how long a process may be silent before others take its jobs."""
    failures_kept_for: timedelta = timedelta(days=7)
    """How long one can ask why a document failed."""

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        for key, value in (("concurrency", self.concurrency), ("attempts", self.attempts)):
            if value < 1:
                yield key, "must be at least 1"
        if self.lease < timedelta(seconds=1):
            yield "lease", "must be at least 1s"


class Limits(Struct, frozen=True, kw_only=True):
    """What one client may take; null lifts a limit."""

    body: Size | None = Size(_MIB)
    upload: Size | None = Size(64 * _MIB)
    streams_per_user: int | None = 16
    login_failures: RateLimit | None = RateLimit(count=10, period=timedelta(minutes=15))
    """Of one account from one address. Each alone, the account or the address, may fail ten times as often."""
    registrations_per_address: RateLimit | None = RateLimit(count=60, period=timedelta(hours=1))
    idempotency_kept_for: timedelta = timedelta(hours=24)


class EmbeddingModel(Struct, frozen=True, kw_only=True):
    """A model behind an OpenAI-compatible `/embeddings`."""

    name: str
    base_url: str
    model: str
    dimensions: int
    api_key: ApiKey = None
    batch: int = 32
    """Texts in one request."""

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from _url_faults(self.base_url)
        for key, value in (("dimensions", self.dimensions), ("batch", self.batch)):
            if value < 1:
                yield key, "must be at least 1"


class Parsing(Struct, frozen=True, kw_only=True):
    """What reading one document may cost, in a process of its own."""

    memory: Size = Size(600 * _MIB)
    """Address space, some 100 MiB of which are mapped before any work; the worst file measured takes 509 MiB."""
    cpu: timedelta = timedelta(seconds=8)
    time: timedelta = timedelta(seconds=8)
    text: Size = Size(20 * _MIB)
    """The longest text that is taken from a document."""
    processes: int = 2
    """Documents that are read at the same time."""

    def __post_init__(self) -> None:
        refuse([("processes", "must be at least 1")] if self.processes < 1 else [])


def _default_embedding_models() -> tuple[EmbeddingModel, ...]:
    tree = tree_of_mapping({"embedding_models": DEFAULT_EMBEDDING_MODELS})
    return read_struct(Rag, tree, {}, source="The default").embedding_models


class Rag(Struct, frozen=True, kw_only=True):
    """How documents are read, found and used."""

    service_addr: str | None = None
    """Of the old product; read and ignored."""
    lancedb_uri: str | None = None
    """A folder or s3://bucket/prefix; `lancedb` in the data folder, unless it says something else."""
    default_embedding_model: str = LEXICAL_MODEL
    """`hash-1024` is built in: lexical, offline, without a download."""
    embedding_models: tuple[EmbeddingModel, ...] = field(default_factory=_default_embedding_models)
    answer_without_passages: bool = False
    """Whether the model is asked even when the knowledge base has nothing relevant; otherwise that is a 404."""
    parsing: Parsing = Parsing()

    def __post_init__(self) -> None:
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        names = [LEXICAL_MODEL, *(model.name for model in self.embedding_models)]
        yield from _repeated("embedding_models", names)
        if self.default_embedding_model not in names:
            yield "default_embedding_model", f"must be one of {', '.join(names)}"


def _url_faults(url: str | None) -> Iterator[tuple[str, str]]:
    if url is None:
        yield "base_url", "is missing"
    elif not url.startswith(("http://", "https://")) or "@" in url or any(mark in url for mark in " ?#"):
        yield "base_url", "must be a URL such as https://api.example.org/v1, without user, query or blanks"


def _repeated(key: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield key, f"has the name {name!r} more than once"
