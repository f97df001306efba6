"""Several models behind one face."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, Completion, Emit
from llm_backend.domain.errors import UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A provider and the models it serves, as shell patterns such as `gpt-*`, compared with upper and lower case."""

    name: str
    patterns: Sequence[str]
    model: ChatModel

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class RoutedChatModel:
    """Passes each request to the first route that serves its model, and to no other if that one fails.

    All methods raise `UnknownModel` when no route does.
    """

    routes: Sequence[Route]

    def check(self, model: str, *, own_key: bool) -> None:
        self._serving(model).check(model, own_key=own_key)

    def window(self, model: str) -> int:
        return self._serving(model).window(model)

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        return await self._serving(request.model).answer(request, emit)

    def _serving(self, model: str) -> ChatModel:
        for route in self.routes:
            if route.serves(model):
                return route.model
        raise UnknownModel
