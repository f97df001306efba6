"""Several models behind one face."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, Completion, Emit
from llm_backend.domain.errors import ApiKeyRequired, UnknownModel
from llm_backend.domain.patterns import is_one_of


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A provider and the models it serves, as shell patterns such as `gpt-*`, compared with upper and lower case.

    Routes that have a `weight` and the same patterns are equals. `is_well` says whether asking makes sense just now.
    """

    name: str
    patterns: Sequence[str]
    model: ChatModel
    weight: int | None = None
    is_well: Callable[[], bool] = _always

    def serves(self, model: str) -> bool:
        return is_one_of(model, self.patterns)

    def equals(self, other: "Route") -> bool:
        weighted = self.weight is not None and other.weight is not None
        return self is other or (weighted and set(self.patterns) == set(other.patterns))

    def has_key(self, model: str) -> bool:
        """Whether it can be asked without a key of the user's own."""
        try:
            self.model.check(model, own_key=False)
        except ApiKeyRequired:
            return False
        return True


@dataclass(frozen=True, slots=True)
class RoutedChatModel:
    """Passes each request to the first route that serves its model, and to no other if that one fails.

    Where that route has equals, one of them is drawn by weight: of those with a key, and if possible of those that
    are well. A user's own key is for the first of them alone. All methods raise `UnknownModel` when no route serves.
    """

    routes: Sequence[Route]
    chance: random.Random = field(default_factory=random.Random)

    def check(self, model: str, *, own_key: bool) -> None:
        self._drawn(model, own_key=own_key).model.check(model, own_key=own_key)

    def window(self, model: str) -> int:
        """The smallest of the equals'."""
        return min(route.model.window(model) for route in self._equals(model))

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        route = self._drawn(request.model, own_key=request.api_key is not None)
        return await route.model.answer(request, emit)

    def _drawn(self, model: str, *, own_key: bool) -> Route:
        first, *others = self._equals(model)
        if own_key or not others:
            return first
        able = [route for route in (first, *others) if route.has_key(model)] or [first]
        well = [route for route in able if route.is_well()] or able
        return self.chance.choices(well, weights=[route.weight or 1 for route in well])[0]

    def _equals(self, model: str) -> Sequence[Route]:
        for route in self.routes:
            if route.serves(model):
                return [other for other in self.routes if route.equals(other)]
        raise UnknownModel
