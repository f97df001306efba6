"""The providers of the configuration become models: for answers that are kept, and for those in the client's words."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from httpx import AsyncClient

from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.completions import Completions
from llm_backend.application.ports.model_catalogue import ModelCatalogue
from llm_backend.config import EmbeddingModel, Provider, Settings
from llm_backend.infrastructure.llm.breaker import Breaker, BreakingChatModel
from llm_backend.infrastructure.llm.catalogue import CataloguedProvider, ConfiguredCatalogue
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.demo import DemoChatModel
from llm_backend.infrastructure.llm.fallback import FallbackChatModel
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.openai import OpenAiChatModel
from llm_backend.infrastructure.llm.passing import OpenAiServer
from llm_backend.infrastructure.llm.rendered import RenderedServer
from llm_backend.infrastructure.llm.retry import RetryPolicy
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.infrastructure.llm.routed_completions import RoutedCompletions, VerbatimRoute


class LanguageModels(NamedTuple):
    """The same providers behind all ports: what one of them sees fail, the others leave alone as well."""

    chat_model: ChatModel
    completions: Completions
    catalogue: ModelCatalogue


def language_models(settings: Settings, clock: Clock, ids: IdSource, stack: AsyncExitStack) -> LanguageModels:
    """The providers, in their order; the first whose patterns match a model serves it."""
    client = provider_client()
    stack.push_async_callback(client.aclose)
    doors = [_Doors(settings, provider, client, _breaker(settings, provider)) for provider in settings.llm.providers]
    embedding = [
        _embedding_route(settings, model, client) for model in settings.rag.embedding_models if model.kind == "openai"
    ]
    verbatim = [*embedding, *(door.verbatim_route(clock, ids) for door in doors)]
    catalogue = ConfiguredCatalogue([door.catalogued() for door in doors], tuple(settings.llm.aliases))
    return LanguageModels(_chat_model(doors), RoutedCompletions(verbatim, settings.llm.aliases), catalogue)


def own_model(settings: Settings, model: ChatModel, clock: Clock, ids: IdSource) -> LanguageModels:
    """A model that somebody else has chosen, which is asked under `/v1` by whatever name."""
    completions = RoutedCompletions([VerbatimRoute(patterns=["*"], server=RenderedServer(model, ids, clock))])
    providers = [CataloguedProvider(provider.name, provider.models) for provider in settings.llm.providers]
    return LanguageModels(model, completions, ConfiguredCatalogue(providers))


def _chat_model(doors: "list[_Doors]") -> ChatModel:
    """Each tries again before its first piece, then its breaker, then its fallbacks, which have none themselves."""
    routes = [door.route() for door in doors]
    others = RoutedChatModel(routes)
    pairs = zip(routes, doors, strict=True)
    return RoutedChatModel([replace(route, model=door.with_fallbacks(route.model, others)) for route, door in pairs])


@dataclass(frozen=True, slots=True)
class _Doors:
    """The two ways into one provider."""

    settings: Settings
    provider: Provider
    client: AsyncClient
    breaker: Breaker | None

    def route(self) -> Route:
        provider, model = self.provider, self._chat_model()
        route = Route(name=provider.name, patterns=provider.models, model=model, weight=provider.weight)
        breaker = self.breaker
        if breaker is None:
            return route
        return replace(route, model=BreakingChatModel(model, breaker), is_well=lambda: not breaker.is_open)

    def with_fallbacks(self, model: ChatModel, others: ChatModel) -> ChatModel:
        fallbacks, total = self.provider.fallbacks, self.settings.llm.timeouts.total
        return FallbackChatModel(model=model, fallbacks=fallbacks, others=others, total=total) if fallbacks else model

    def verbatim_route(self, clock: Clock, ids: IdSource) -> VerbatimRoute:
        provider = self.provider
        return VerbatimRoute(
            patterns=provider.models,
            server=self._server() or RenderedServer(DemoChatModel(), ids, clock),
            weight=provider.weight,
            fallbacks=provider.fallbacks,
            breaker=self.breaker,
        )

    def catalogued(self) -> CataloguedProvider:
        server = self._server()
        return CataloguedProvider(self.provider.name, self.provider.models, server.models if server else None)

    def _chat_model(self) -> ChatModel:
        provider = self.provider
        if not _is_server(provider):
            return DemoChatModel()
        return OpenAiChatModel(
            client=self.client,
            name=provider.name,
            base_url=provider.base_url or "",
            api_key=provider.api_key,
            key_required=provider.needs_key,
            window=provider.context_window,
            limits=_limits(self.settings),
            retries=_retries(self.settings),
        )

    def _server(self) -> OpenAiServer | None:
        provider = self.provider
        if not _is_server(provider):
            return None
        return OpenAiServer(
            client=self.client,
            name=provider.name,
            base_url=provider.base_url or "",
            api_key=provider.api_key,
            key_required=provider.needs_key,
            limits=_limits(self.settings),
            retries=_retries(self.settings),
        )


def _is_server(provider: Provider) -> bool:
    return provider.kind != "demo" and provider.base_url is not None


def _breaker(settings: Settings, provider: Provider) -> Breaker | None:
    breaker = settings.llm.breaker
    if breaker is None or breaker.failures is None or not _is_server(provider):
        return None
    return Breaker(name=provider.name, failures=breaker.failures, cool_down=breaker.cool_down)


def _embedding_route(settings: Settings, model: EmbeddingModel, client: AsyncClient) -> VerbatimRoute:
    server = OpenAiServer(
        client=client,
        name=model.name,
        base_url=model.base_url or "",
        api_key=None if model.lacks_key else model.api_key,
        key_required=model.lacks_key,
        limits=_limits(settings),
        retries=_retries(settings),
    )
    return VerbatimRoute(patterns=[model.name], server=server, renamed={model.name: model.model})


def _limits(settings: Settings) -> AnswerLimits:
    timeouts = settings.llm.timeouts
    return AnswerLimits(
        connect=timeouts.connect,
        first_token=timeouts.first_token,
        idle=timeouts.idle,
        total=timeouts.total,
        longest_answer=settings.llm.longest_answer,
        longest_line=settings.llm.longest_line,
    )


def _retries(settings: Settings) -> RetryPolicy:
    return RetryPolicy(attempts=settings.llm.retries + 1)
