"""Settings become adapters. What the settings do not name is not imported."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import TypedDict, TypeVar

from llm_backend.application.health import Part
from llm_backend.application.ports.blobs import Blobs
from llm_backend.application.ports.cache import Cache
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.completions import Completions
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.jobs import Jobs
from llm_backend.application.ports.model_catalogue import ModelCatalogue
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.passwords import Passwords
from llm_backend.application.ports.rate_limiter import RateLimiter
from llm_backend.application.ports.reranker import Reranker
from llm_backend.application.ports.secret_box import SecretBox
from llm_backend.application.ports.stop_signals import StopSignals
from llm_backend.application.ports.store import Store
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.ports.tokens import Tokens
from llm_backend.bootstrap.embedders import open_embedders
from llm_backend.bootstrap.language_models import LanguageModels, language_models, own_model
from llm_backend.config import ObjectStorage, Settings
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.files.blobs import FolderBlobs
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.infrastructure.memory.cache import MemoryCache
from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
from llm_backend.infrastructure.memory.stop_signals import MemoryStopSignals
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.sandbox import SandboxedParser
from llm_backend.infrastructure.security.ids import RandomIds, SystemClock
from llm_backend.infrastructure.security.key_ring import FileKeyRing, FixedKeyRing, watched
from llm_backend.infrastructure.security.passwords import Argon2Passwords
from llm_backend.infrastructure.security.secret_box import KEY_BYTES, AesGcmSecretBox
from llm_backend.infrastructure.security.tokens import SHORTEST_KEY, JwtTokens
from llm_backend.infrastructure.text.folding import OpenCcFolding

Given = TypeVar("Given")

KEY_WATCH = timedelta(seconds=10)  # how soon a running server drops what a dropped key has signed


class Ports(TypedDict, total=False):
    """Adapters of one's own, each in place of the one that the settings would choose. They are not closed here."""

    store: Store
    blobs: Blobs
    jobs: Jobs
    stream_log: StreamLog
    stop_signals: StopSignals
    chat_model: ChatModel
    completions: Completions
    catalogue: ModelCatalogue
    embedders: Embedders
    reranker: Reranker
    passage_index: PassageIndex
    parser: DocumentParser
    folding: Folding
    rate_limiter: RateLimiter
    cache: Cache
    passwords: Passwords
    tokens: Tokens
    secret_box: SecretBox
    clock: Clock
    ids: IdSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """One adapter for every port, and the parts whose health counts."""

    store: Store
    blobs: Blobs
    jobs: Jobs
    stream_log: StreamLog
    stop_signals: StopSignals
    chat_model: ChatModel
    completions: Completions
    catalogue: ModelCatalogue
    embedders: Embedders
    reranker: Reranker | None
    passage_index: PassageIndex
    parser: DocumentParser
    folding: Folding
    rate_limiter: RateLimiter
    cache: Cache
    passwords: Passwords
    tokens: Tokens
    secret_box: SecretBox
    clock: Clock
    ids: IdSource
    parts: Mapping[str, Part]


async def open_adapters(settings: Settings, given: Ports, stack: AsyncExitStack) -> Adapters:
    """What the settings name, except what is given; all that is opened here is closed by `stack`."""
    clock = _chosen(given.get("clock"), SystemClock)
    ids = _chosen(given.get("ids"), RandomIds)
    parts: dict[str, Part] = {}
    store = given.get("store")
    if store is None:
        store = await _store(settings, stack)
    parts["database"] = Part(check=store.check, essential=True)
    limiter, cache = await _shared(settings, stack, parts)
    stream_log, stop_signals = await _relay(settings, stack)
    models = _language_models(settings, given, clock, ids, stack)
    passage_index, parser = given.get("passage_index"), given.get("parser")
    tokens, reranker = given.get("tokens"), given.get("reranker")
    return Adapters(
        store=store,
        blobs=_chosen(given.get("blobs"), lambda: open_blobs(settings, stack)),
        jobs=_chosen(given.get("jobs"), lambda: store.jobs),
        stream_log=_chosen(given.get("stream_log"), lambda: stream_log),
        stop_signals=_chosen(given.get("stop_signals"), lambda: stop_signals),
        chat_model=models.chat_model,
        completions=_chosen(given.get("completions"), lambda: models.completions),
        catalogue=_chosen(given.get("catalogue"), lambda: models.catalogue),
        embedders=_chosen(given.get("embedders"), lambda: open_embedders(settings, stack)),
        passage_index=await _checked_index(settings, stack, parts) if passage_index is None else passage_index,
        reranker=_reranker(settings, stack) if reranker is None else reranker,
        parser=await _parser(settings, stack) if parser is None else parser,
        folding=_chosen(given.get("folding"), OpenCcFolding),
        rate_limiter=_chosen(given.get("rate_limiter"), lambda: limiter),
        cache=_chosen(given.get("cache"), lambda: cache),
        passwords=_chosen(given.get("passwords"), lambda: _passwords(stack)),
        tokens=await _tokens(settings, clock, ids, stack) if tokens is None else tokens,
        secret_box=_chosen(given.get("secret_box"), lambda: AesGcmSecretBox(secrets_ring(settings))),
        clock=clock,
        ids=ids,
        parts=parts,
    )


def _chosen(given: Given | None, usual: Callable[[], Given]) -> Given:
    """Not by whether it is true: an adapter may have a length, and be empty."""
    return usual() if given is None else given


async def _store(settings: Settings, stack: AsyncExitStack) -> Store:
    from llm_backend.bootstrap.databases import open_store

    return await open_store(settings, stack)


def open_blobs(settings: Settings, stack: AsyncExitStack | ExitStack) -> Blobs:
    """Uploaded files in a folder, or in an object store."""
    place = settings.originals_uri
    if place is None or not place.startswith("s3://"):
        return FolderBlobs(settings.originals_folder)
    from llm_backend.infrastructure.objects.blobs import Access, S3Blobs

    storage = settings.object_storage
    access = Access(
        endpoint=storage.endpoint,
        region=storage.region,
        access_key=storage.access_key,
        secret_key=storage.secret_key,
    )
    blobs = S3Blobs(place, access)
    stack.callback(blobs.close)
    return blobs


async def _shared(settings: Settings, stack: AsyncExitStack, parts: dict[str, Part]) -> tuple[RateLimiter, Cache]:
    """In the process, or on Redis where one is configured. Nothing fails when Redis does."""
    if settings.redis.address is None:
        return MemoryRateLimiter(), MemoryCache()
    from llm_backend.infrastructure.redis.cache import RedisCache
    from llm_backend.infrastructure.redis.connection import RedisConnection
    from llm_backend.infrastructure.redis.rate_limiter import RedisRateLimiter

    options = _redis_options(settings)
    redis = await stack.enter_async_context(RedisConnection.open(settings.redis.address.reveal(), **options))
    parts["redis"] = Part(check=redis.check, essential=False)
    return RedisRateLimiter(redis, MemoryRateLimiter()), RedisCache(redis)


async def _relay(settings: Settings, stack: AsyncExitStack) -> tuple[StreamLog, StopSignals]:
    """What replicas tell each other about running answers: of interest where they share a database.

    On a connection of its own, which may be more patient than a request and never stands in the way of one.
    """
    if settings.redis.address is None or settings.database.url is None:
        return MemoryStreamLog(), MemoryStopSignals()
    from llm_backend.infrastructure.redis.connection import RedisConnection
    from llm_backend.infrastructure.redis.stop_signals import RedisStopSignals
    from llm_backend.infrastructure.redis.stream_log import PATIENCE, RedisStreamLog

    options = _redis_options(settings)
    connection = await stack.enter_async_context(
        RedisConnection.open(settings.redis.address.reveal(), **options, patience=PATIENCE)
    )
    log = await stack.enter_async_context(RedisStreamLog(MemoryStreamLog(), connection))
    return log, await stack.enter_async_context(RedisStopSignals(connection))


class _RedisOptions(TypedDict):
    cluster: bool
    password: Secret | None
    db: int


def _redis_options(settings: Settings) -> _RedisOptions:
    redis = settings.redis
    return {"cluster": redis.cluster, "password": redis.password, "db": redis.db}


def _language_models(
    settings: Settings, given: Ports, clock: Clock, ids: IdSource, stack: AsyncExitStack
) -> LanguageModels:
    if (model := given.get("chat_model")) is not None:
        return own_model(settings, model, clock, ids)
    return language_models(settings, clock, ids, stack)


async def _checked_index(settings: Settings, stack: AsyncExitStack, parts: dict[str, Part]) -> PassageIndex:
    index = await open_passage_index(settings, stack)
    parts["passage_index"] = Part(check=index.check, essential=False)
    return index


def _reranker(settings: Settings, stack: AsyncExitStack) -> Reranker | None:
    reranker = settings.rag.reranker
    if reranker is None:
        return None
    from llm_backend.infrastructure.llm.client import provider_client
    from llm_backend.infrastructure.reranking.http import Dialect, HttpReranker

    client = provider_client()
    stack.push_async_callback(client.aclose)
    return HttpReranker(
        client=client,
        base_url=reranker.base_url,
        dialect=Dialect(reranker.kind),
        model=reranker.model,
        api_key=reranker.api_key,
        depth=reranker.depth,
        timeout=reranker.timeout,
    )


async def open_passage_index(settings: Settings, stack: AsyncExitStack) -> LanceDbPassageIndex:
    return await stack.enter_async_context(
        LanceDbPassageIndex(
            settings.lancedb_uri,
            _storage_options(settings.object_storage) if settings.lancedb_uri.startswith("s3://") else None,
            kept_versions=settings.rag.kept_versions,
        )
    )


def _storage_options(storage: ObjectStorage) -> dict[str, str]:
    """As LanceDB wants them: a request that nobody answers is given up in time for whoever waits for it."""
    options = {
        "aws_endpoint": storage.endpoint,
        "aws_region": storage.region,
        "aws_access_key_id": storage.access_key.reveal() if storage.access_key else None,
        "aws_secret_access_key": storage.secret_key.reveal() if storage.secret_key else None,
        "allow_http": "true" if storage.allow_http else None,
        "connect_timeout": "3s",
        "timeout": "20s",  # of one request, which may carry some MiB
        "client_max_retries": "3",
        "client_retry_timeout": "15",  # seconds; three minutes if nothing is said
    }
    return {key: value for key, value in options.items() if value is not None}


async def _parser(settings: Settings, stack: AsyncExitStack) -> DocumentParser:
    parsing = settings.rag.parsing
    limits = ParsingLimits(
        wall_seconds=parsing.time.total_seconds(),
        cpu_seconds=ceil(parsing.cpu.total_seconds()),
        memory=parsing.memory,
        characters=parsing.text,
    )
    return await stack.enter_async_context(SandboxedParser(limits, at_once=parsing.processes))


def _passwords(stack: AsyncExitStack) -> Passwords:
    passwords = Argon2Passwords()
    stack.callback(passwords.close)
    return passwords


async def _tokens(settings: Settings, clock: Clock, ids: IdSource, stack: AsyncExitStack) -> Tokens:
    tokens = JwtTokens(tokens_ring(settings), ttl=settings.jwt.ttl, now=clock, ids=ids)
    await stack.enter_async_context(watched(tokens.look_for_keys, KEY_WATCH))
    return tokens


def secrets_ring(settings: Settings) -> FileKeyRing | FixedKeyRing:
    """The keys that seal secrets: those of the configuration, or those of the file."""
    if settings.secrets_keys:
        return FixedKeyRing([bytes.fromhex(key.reveal()) for key in settings.secrets_keys], KEY_BYTES)
    return FileKeyRing(settings.key_file, KEY_BYTES)


def tokens_ring(settings: Settings) -> FileKeyRing | FixedKeyRing:
    """The keys that sign tokens: likewise, and then those of before."""
    previous = [secret.reveal().encode() for secret in settings.jwt.previous]
    if settings.jwt.secret:
        return FixedKeyRing([settings.jwt.secret.reveal().encode(), *previous], SHORTEST_KEY)
    return FileKeyRing(settings.jwt_secret_file, SHORTEST_KEY, also=previous)
