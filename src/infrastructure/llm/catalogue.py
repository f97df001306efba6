"""The models that the configuration names."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.ports.model_catalogue import ListedModel

_WILD = frozenset("*?[")


def is_written_out(pattern: str) -> bool:
    """Whether it is the name of one model."""
    return not _WILD & set(pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedProvider:
    """A provider, and the shell patterns of what it serves."""

    name: str
    patterns: Sequence[str]


@dataclass(frozen=True, slots=True)
class ConfiguredCatalogue:
    """Names that are written out. What patterns such as `gpt-*` stand for only the provider knows."""

    providers: Sequence[CataloguedProvider]
    aliases: Sequence[str] = ()

    async def models(self) -> Sequence[ListedModel]:
        listed: dict[str, ListedModel] = {}
        for provider in self.providers:
            for name in provider.patterns:
                if is_written_out(name):
                    listed.setdefault(name, ListedModel(id=name, owned_by=provider.name))
        for name in self.aliases:
            listed.setdefault(name, ListedModel(id=name, owned_by="llm-backend"))
        return list(listed.values())
