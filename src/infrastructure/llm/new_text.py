"""Between a model that goes on with a text and its reader."""

from collections.abc import Sequence

from llm_backend.application.ports.chat_model import Emit
from llm_backend.domain.answers import CallPiece, Delta
from llm_backend.domain.continuation import Continuation


class NewText:
    """An `emit` that leaves out what a continuation repeats of `so_far`. Call `finish` when nothing more comes."""

    def __init__(self, so_far: str, emit: Emit) -> None:
        self._continuation = Continuation(so_far)
        self._emit = emit

    def __call__(self, deltas: Sequence[Delta]) -> None:
        if self._continuation.decided or type(deltas[0]) is CallPiece:
            self._emit(deltas)
        elif new := self._continuation.feed("".join(delta.text for delta in deltas)):
            self._emit([Delta(new)])

    def finish(self) -> None:
        """Emit what was held back and is new after all."""
        if new := self._continuation.finish():
            self._emit([Delta(new)])
