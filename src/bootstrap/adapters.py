"""Settings become adapters. What the settings do not name is not imported."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import ceil
from typing import TypedDict

from httpx import AsyncClient

from llm_backend.application.health import Part
from llm_backend.application.ports.blobs import Blobs
from llm_backend.application.ports.cache import Cache
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.ports.embedder import Embedder, Embedders
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.jobs import Jobs
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.passwords import Passwords
from llm_backend.application.ports.rate_limiter import RateLimiter
from llm_backend.application.ports.secret_box import SecretBox
from llm_backend.application.ports.store import Store
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.ports.tokens import Tokens
from llm_backend.config import ConfigurationError, Fault, Provider, Settings
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.files.blobs import FolderBlobs
from llm_backend.infrastructure.files.lock import lock_database, lock_folder
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.demo import DemoChatModel
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.retry import RetryPolicy
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.infrastructure.memory.cache import MemoryCache
from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.sandbox import SandboxedParser
from llm_backend.infrastructure.security.ids import RandomIds, SystemClock
from llm_backend.infrastructure.security.keys import load_or_create_key, load_or_create_keys
from llm_backend.infrastructure.security.passwords import Argon2Passwords
from llm_backend.infrastructure.security.secret_box import KEY_BYTES, AesGcmSecretBox
from llm_backend.infrastructure.security.tokens import SHORTEST_KEY, JwtTokens
from llm_backend.infrastructure.text.folding import OpenCcFolding


class Ports(TypedDict, total=False):
    """Adapters of one's own, each in place of the one that the settings would choose. They are not closed here."""

    store: Store
    blobs: Blobs
    jobs: Jobs
    stream_log: StreamLog
    chat_model: ChatModel
    embedders: Embedders
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
    chat_model: ChatModel
    embedders: Embedders
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
    clock = given.get("clock") or SystemClock()
    ids = given.get("ids") or RandomIds()
    parts: dict[str, Part] = {}
    store = given.get("store") or await _store(settings, stack)
    parts["database"] = Part(check=store.check, essential=True)
    limiter, cache = await _shared(settings, stack, parts)
    return Adapters(
        store=store,
        blobs=given.get("blobs") or FolderBlobs(settings.originals_folder),
        jobs=given.get("jobs") or store.jobs,
        stream_log=given.get("stream_log") or MemoryStreamLog(),
        chat_model=given.get("chat_model") or _chat_model(settings, stack),
        embedders=given.get("embedders") or _embedders(settings, stack),
        passage_index=given.get("passage_index") or await _passage_index(settings, stack, parts),
        parser=given.get("parser") or await _parser(settings, stack),
        folding=given.get("folding") or OpenCcFolding(),
        rate_limiter=given.get("rate_limiter") or limiter,
        cache=given.get("cache") or cache,
        passwords=given.get("passwords") or _passwords(stack),
        tokens=given.get("tokens") or _tokens(settings, clock, ids),
        secret_box=given.get("secret_box") or AesGcmSecretBox(load_or_create_keys(settings.key_file, KEY_BYTES)),
        clock=clock,
        ids=ids,
        parts=parts,
    )


async def _store(settings: Settings, stack: AsyncExitStack) -> Store:
    """SQLite, which is then ours alone, as is the data folder, where the passages and the keys belong to it."""
    no_database_server(settings)
    stack.enter_context(lock_folder(settings.data_folder))
    stack.enter_context(lock_database(settings.database_file))
    from llm_backend.infrastructure.sql.store import SqlStore

    patience = settings.sqlite.busy_timeout.total_seconds()
    return await stack.enter_async_context(SqlStore.open(settings.database_file, patience=patience))


def no_database_server(settings: Settings) -> None:
    """Raises `ConfigurationError`: better at the start than at the first request."""
    if settings.database.url is not None:
        fault = Fault(path="database.url", message="is not supported yet; leave it empty, and SQLite is used")
        raise ConfigurationError([fault])


async def _shared(settings: Settings, stack: AsyncExitStack, parts: dict[str, Part]) -> tuple[RateLimiter, Cache]:
    """In the process, or on Redis where one is configured. Nothing fails when Redis does."""
    if settings.redis.address is None:
        return MemoryRateLimiter(), MemoryCache()
    from llm_backend.infrastructure.redis.cache import RedisCache
    from llm_backend.infrastructure.redis.connection import RedisConnection
    from llm_backend.infrastructure.redis.rate_limiter import RedisRateLimiter

    redis = await stack.enter_async_context(
        RedisConnection.open(settings.redis.address, password=settings.redis.password, db=settings.redis.db)
    )
    parts["redis"] = Part(check=redis.check, essential=False)
    return RedisRateLimiter(redis, MemoryRateLimiter()), RedisCache(redis)


def _chat_model(settings: Settings, stack: AsyncExitStack) -> ChatModel:
    """The providers, in their order; the first whose patterns match a model serves it."""
    client = provider_client()
    stack.push_async_callback(client.aclose)
    return RoutedChatModel(
        [
            Route(name=provider.name, patterns=provider.models, model=_provider(settings, provider, client))
            for provider in settings.llm.providers
        ]
    )


def _provider(settings: Settings, provider: Provider, client: AsyncClient) -> ChatModel:
    if provider.kind == "demo" or provider.base_url is None:
        return DemoChatModel()
    timeouts = settings.llm.timeouts
    return OpenAiChatModel(
        client=client,
        name=provider.name,
        base_url=provider.base_url,
        api_key=provider.api_key,
        key_required=provider.needs_key,
        window=provider.context_window,
        limits=AnswerLimits(
            connect=timeouts.connect,
            first_token=timeouts.first_token,
            idle=timeouts.idle,
            total=timeouts.total,
            longest_answer=settings.llm.longest_answer,
            longest_line=settings.llm.longest_line,
        ),
        retries=RetryPolicy(attempts=settings.llm.retries + 1),
    )


def _embedders(settings: Settings, stack: AsyncExitStack) -> Embedders:
    """The lexical one, which is built in, and those that are configured."""
    embedders: list[Embedder] = [HashEmbedder()]
    if settings.rag.embedding_models:
        from llm_backend.infrastructure.embedding.openai import OpenAiEmbedder

        client = provider_client()
        stack.push_async_callback(client.aclose)
        embedders += [
            OpenAiEmbedder(
                client=client,
                base_url=model.base_url,
                model=model.model,
                space=EmbeddingSpace(model=model.name, dimensions=model.dimensions),
                api_key=model.api_key,
                batch=model.batch,
            )
            for model in settings.rag.embedding_models
        ]
    return ConfiguredEmbedders(embedders, default=settings.rag.default_embedding_model)


async def _passage_index(settings: Settings, stack: AsyncExitStack, parts: dict[str, Part]) -> PassageIndex:
    index = await stack.enter_async_context(LanceDbPassageIndex(settings.lancedb_uri))
    parts["passage_index"] = Part(check=index.check, essential=False)
    return index


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


def _tokens(settings: Settings, clock: Clock, ids: IdSource) -> Tokens:
    secret = settings.jwt.secret
    key = secret.reveal().encode() if secret else load_or_create_key(settings.jwt_secret_file, SHORTEST_KEY)
    return JwtTokens(key, ttl=settings.jwt.ttl, now=clock, ids=ids)
