"""The models that the configuration names."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.ports.model_catalogue import ListedModel

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedProvider:
    """A provider, and the shell patterns of what it serves."""

    name: str
    patterns: Sequence[str]


@dataclass(frozen=True, slots=True)
class ConfiguredCatalogue:
    """Names that are written out. What patterns such as `gpt-*` stand for only the provider knows."""

    providers: Sequence[CataloguedProvider]

    async def models(self) -> Sequence[ListedModel]:
        listed: dict[str, ListedModel] = {}
        for provider in self.providers:
            for name in provider.patterns:
                if not _WILD & set(name):
                    listed.setdefault(name, ListedModel(id=name, owned_by=provider.name))
        return list(listed.values())
