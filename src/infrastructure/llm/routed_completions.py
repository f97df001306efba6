"""Several verbatim servers behind one face."""

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from llm_backend.application.ports.completions import Pour, Streamed, VerbatimReply, VerbatimRequest
from llm_backend.domain.errors import ApiKeyRequired, UnknownModel, UpstreamFailed, UpstreamRejectedRequest
from llm_backend.domain.patterns import is_one_of
from llm_backend.infrastructure.llm.breaker import Breaker
from llm_backend.infrastructure.llm.passing import VerbatimServer

T = TypeVar("T")
Ask = Callable[["VerbatimRoute", str], Awaitable[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbatimRoute:
    """A provider and the models it serves, as shell patterns such as `gpt-*`, compared with upper and lower case.

    Routes that have a `weight` and the same patterns are equals. `fallbacks` are models that are asked in the place of
    its own when it fails; `renamed` says what it calls them, where that is something else.
    """

    patterns: Sequence[str]
    server: VerbatimServer
    weight: int | None = None
    fallbacks: Sequence[str] = ()
    breaker: Breaker | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def serves(self, model: str) -> bool:
        return is_one_of(model, self.patterns)

    def equals(self, other: "VerbatimRoute") -> bool:
        weighted = self.weight is not None and other.weight is not None
        return self is other or (weighted and set(self.patterns) == set(other.patterns))

    @property
    def has_key(self) -> bool:
        try:
            self.server.check()
        except ApiKeyRequired:
            return False
        return True

    @property
    def is_well(self) -> bool:
        return self.breaker is None or not self.breaker.is_open

    async def watched(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await (ask() if self.breaker is None else self.breaker.watch(ask))

    def name_of(self, model: str) -> str:
        return self.renamed.get(model, model)


@dataclass(frozen=True, slots=True)
class RoutedCompletions:
    """`Completions` by the first route that serves a model, or one of its equals, drawn by weight; `aliases` are other
    names of models.

    When that fails before anything has been handed on, its fallbacks are asked, one after the other; not, when it only
    refused the request, which its sender can change.
    """

    routes: Sequence[VerbatimRoute]
    aliases: Mapping[str, str] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)

    def check(self, model: str) -> None:
        self._drawn(self._meant(model)).server.check()

    async def complete(self, request: VerbatimRequest) -> VerbatimReply:
        return await self._asked(request, lambda route, model: route.server.complete(request, model))

    async def embed(self, request: VerbatimRequest) -> VerbatimReply:
        return await self._asked(request, lambda route, model: route.server.embed(request, model))

    async def stream(self, request: VerbatimRequest, pour: Pour, streamed: Streamed) -> None:
        began = False

        async def ask(route: VerbatimRoute, model: str) -> None:
            breaker = route.breaker

            def heard(events: bytes) -> None:
                nonlocal began
                began = True
                if breaker is not None and not breaker.is_closed:
                    breaker.heard()
                pour(events)

            await route.server.stream(request, model, heard, streamed)

        await self._asked(request, ask, began=lambda: began)

    async def _asked(self, request: VerbatimRequest, ask: "Ask[T]", *, began: Callable[[], bool] = lambda: False) -> T:
        model = self._meant(request.model)
        route = self._drawn(model)
        route.server.check()
        try:
            return await _ask(route, model, ask)
        except UpstreamRejectedRequest:
            raise
        except UpstreamFailed as error:
            failure = error
        for other, name in self._fallbacks(route):
            if began():
                break
            try:
                return await _ask(other, name, ask)
            except UpstreamFailed as error:
                failure = error
        raise failure

    def _fallbacks(self, route: VerbatimRoute) -> Iterator[tuple[VerbatimRoute, str]]:
        """Those that can be asked."""
        for name in route.fallbacks:
            try:
                other = self._drawn(name)
                other.server.check()
            except (UnknownModel, ApiKeyRequired):
                continue
            yield other, name

    def _meant(self, model: str) -> str:
        return self.aliases.get(model, model)

    def _drawn(self, model: str) -> VerbatimRoute:
        first, *others = self._equals(model)
        if not others:
            return first
        able = [route for route in (first, *others) if route.has_key] or [first]
        well = [route for route in able if route.is_well] or able
        return self.chance.choices(well, weights=[route.weight or 1 for route in well])[0]

    def _equals(self, model: str) -> Sequence[VerbatimRoute]:
        for route in self.routes:
            if route.serves(model):
                return [other for other in self.routes if route.equals(other)]
        raise UnknownModel


async def _ask(route: VerbatimRoute, model: str, ask: "Ask[T]") -> T:
    return await route.watched(lambda: ask(route, route.name_of(model)))
