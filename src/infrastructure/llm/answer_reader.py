"""From the bytes of one reply to the pieces of one answer."""

from collections.abc import Iterable, Sequence

from llm_backend.application.ports.chat_model import Completion, Emit
from llm_backend.domain.answers import CallPiece, Delta
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import AnswerTooLong, UpstreamCutOff
from llm_backend.infrastructure.llm.chunks import Chunk, ChunkCall, ChunkDecoder, ChunkFunction, Found, storable


class AnswerReader:
    """Emits the answer in a streamed reply: what one read brings, at once."""

    def __init__(self, emit: Emit, *, longest_answer: int, longest_line: int) -> None:
        self.began = False
        """Whether the server has said anything: text, or only that it is thinking."""
        self.emitted = False
        """Whether a piece of text has been handed on, so that starting again would repeat it."""
        self.finish_reason: str | None = None
        self._usage: TokenUsage | None = None
        self._emit = emit
        self._room = longest_answer
        self._decoder = ChunkDecoder(longest_line=longest_line)

    @property
    def ended(self) -> bool:
        """Whether the answer is known to be complete, so that what happens to the connection does not matter."""
        return self._decoder.done or self.finish_reason is not None

    def feed(self, data: bytes) -> bool:
        """Emit what `data` brings; whether that was the last. What comes before a fault is emitted before it is raised.

        Raises `UpstreamFailed`, and whatever `emit` raises.
        """
        self.read(self._decoder.feed(data))
        return self._decoder.done

    def finish(self) -> None:
        """The reply is over. Raises `UpstreamCutOff` when the answer is not."""
        self.read(self._decoder.finish())
        if not self.ended:
            raise UpstreamCutOff

    def read(self, found: Iterable[Found]) -> None:
        """Emit what is in it, at once."""
        deltas: list[Delta] = []
        try:
            for one in found:
                if isinstance(one, list):
                    self._keep_all(one, deltas)
                else:
                    self._take(one, deltas)
        finally:
            if deltas:
                self.emitted = True
                self._emit(deltas)

    def completion(self) -> Completion:
        return Completion(finish_reason=self.finish_reason, usage=self._usage)

    def _take(self, chunk: Chunk, deltas: list[Delta]) -> None:
        self.began = True
        failure = chunk.failure()
        if failure is not None:
            raise failure
        if chunk.finish_reason:
            self.finish_reason = chunk.finish_reason
        if chunk.usage is not None:
            self._usage = chunk.usage.counted()
        if text := chunk.text:
            self._keep(text, deltas)
        if calls := chunk.calls:
            self._call(calls, deltas)

    def _call(self, calls: Sequence[ChunkCall], deltas: list[Delta]) -> None:
        """Pieces of calls go on in a batch of their own, behind the text before them."""
        pieces = [_call_piece(call, place) for place, call in enumerate(calls)]
        self._room -= sum(len(piece.arguments) for piece in pieces)
        if self._room < 0:
            raise AnswerTooLong
        if deltas:
            self._emit(list(deltas))
            deltas.clear()
        self.emitted = True
        self._emit(pieces)

    def _keep_all(self, texts: list[str], deltas: list[Delta]) -> None:
        """The hot path."""
        self.began = True
        length = len(texts[0]) if len(texts) == 1 else sum(map(len, texts))
        if length <= self._room:
            self._room -= length
            deltas += [Delta(text) for text in texts if text]
        else:
            for text in texts:
                self._keep(text, deltas)

    def _keep(self, text: str, deltas: list[Delta]) -> None:
        if len(text) <= self._room:
            self._room -= len(text)
            deltas += [Delta(text)] if text else []
            return
        if self._room:
            deltas.append(Delta(text[: self._room]))
        raise AnswerTooLong


def _call_piece(call: ChunkCall, place: int) -> CallPiece:
    """Servers that send each call as a whole often leave out its index."""
    function = call.function or ChunkFunction()
    return CallPiece(
        "",
        place if call.index is None else call.index,
        storable(function.arguments or ""),
        storable(call.id) if call.id else None,
        storable(function.name) if function.name else None,
    )
