"""The models that the configuration names, and those that providers list themselves."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llm_backend.application.ports.model_catalogue import ListedModel
from llm_backend.domain.errors import DomainError
from llm_backend.domain.patterns import is_one_of

OURS = "llm-backend"
KEPT = 600.0  # seconds for which a list is believed
KEPT_SILENCE = 30.0  # and for which a provider that did not answer is not asked again

_WILD = frozenset("*?[")

Lister = Callable[[], Awaitable[Sequence[ListedModel]]]


def is_written_out(pattern: str) -> bool:
    """Whether it is the name of one model."""
    return not _WILD & set(pattern)


@dataclass(slots=True)
class CataloguedProvider:
    """A provider, the shell patterns of what it serves, and how to ask it for its list, where that can be done.

    It is asked once in a while, by one at a time, and only when what it serves is not all written out.
    """

    name: str
    patterns: Sequence[str]
    ask: Lister | None = None
    monotonic: Callable[[], float] = time.monotonic
    _listed: Sequence[ListedModel] = field(default=(), init=False)
    _good_until: float = field(default=0.0, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def serves(self, model: str) -> bool:
        return is_one_of(model, self.patterns)

    def named(self) -> Iterator[ListedModel]:
        return (ListedModel(id=name, owned_by=self.name) for name in self.patterns if is_written_out(name))

    async def listed(self) -> Sequence[ListedModel]:
        """What it listed last, where it does not answer now."""
        if self.ask is None or all(map(is_written_out, self.patterns)):
            return ()
        async with self._turn:
            if self.monotonic() >= self._good_until:
                await self._renew(self.ask)
        return self._listed

    async def _renew(self, ask: Lister) -> None:
        try:
            self._listed = await ask()
        except DomainError:
            self._good_until = self.monotonic() + KEPT_SILENCE
        else:
            self._good_until = self.monotonic() + KEPT


@dataclass(frozen=True, slots=True)
class ConfiguredCatalogue:
    """`ModelCatalogue` of the providers in their order; a model belongs to the first that serves it."""

    providers: Sequence[CataloguedProvider]
    aliases: Sequence[str] = ()

    async def models(self) -> Sequence[ListedModel]:
        lists = await asyncio.gather(*(provider.listed() for provider in self.providers))
        found: dict[str, ListedModel] = {}
        for provider, listed in zip(self.providers, lists, strict=True):
            for model in (*provider.named(), *listed):
                if self._server_of(model.id) is provider:
                    found.setdefault(model.id, model)
        for alias in self.aliases:
            found.setdefault(alias, ListedModel(id=alias, owned_by=OURS))
        return list(found.values())

    def _server_of(self, model: str) -> CataloguedProvider | None:
        return next((provider for provider in self.providers if provider.serves(model)), None)
