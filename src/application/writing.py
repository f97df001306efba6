"""An answer while it is being written."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from llm_backend.application.metering import Share, shares_of, total
from llm_backend.application.ports.answer_journal import Part
from llm_backend.application.ports.chat_model import ChatRequest, Completion
from llm_backend.domain.answers import (
    INTERRUPTED,
    STOPPED,
    Answer,
    AnswerEvent,
    CallPiece,
    Cited,
    Continued,
    Delta,
    Done,
    Failed,
    FullText,
)
from llm_backend.domain.citations import Citation, cited
from llm_backend.domain.conversations import Message, MessageState, Role, Seam, TokenUsage
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import ApiKeyId
from llm_backend.domain.outputs import Outline
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.usage import UsageKind

REASONS = {
    STOPPED: "The answer was stopped",
    INTERRUPTED: "The server was interrupted while it was writing the answer",
}
CUT = {"length", "content_filter"}
LOST = "lost"  # somebody else writes it now, or its conversation is gone
HANDED_OVER = "handed_over"  # whoever wants it may go on with it


@dataclass(slots=True, kw_only=True, eq=False)
class Writing:
    """What came of an answer so far, and how much of it is durable."""

    answer: Answer
    request: ChatRequest
    grounding: Grounding | None = None
    kind: UsageKind = UsageKind.ANSWER
    key: ApiKeyId | None = None
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    seams: list[Seam] = field(default_factory=list)
    unsaved: list[AnswerEvent] = field(default_factory=list)
    unsaved_length: int = 0
    saved: int = 0  # the number of the last event that is in the journal
    saving: "asyncio.Task[None] | None" = None
    counted: TokenUsage | None = None  # by the server of the model that wrote last
    broken_at: int | None = None  # characters of what another process had written, until the first new piece
    sure_until: float = 0.0  # by the monotonic clock: till then it is known that no other process has it
    held: list[AnswerEvent] = field(default_factory=list)  # not told to anybody, while that is unknown
    outline: Outline | None = None  # once there is more than text
    is_kept: bool = False  # also if it fails before its first word, as somebody will ask what became of it
    task: "asyncio.Task[None] | None" = None
    asking: bool = False  # the model is at work: this, and not the storing before and after it, may be cancelled
    is_ending: bool = False  # no more checkpoints: the end carries all that is unsaved
    has_ended: bool = False  # here, and durably
    trouble: DomainError | None = None  # why it is not, though the patience with the database has come to its end
    cut_short: str | None = None  # STOPPED, INTERRUPTED, LOST or HANDED_OVER, once there is a reason to

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def unsaved_part(self) -> Part:
        return Part(self.answer.id, self.saved + 1, list(self.unsaved))

    def has_saved(self, part: Part) -> None:
        self.saved += len(part.events)
        del self.unsaved[: len(part.events)]
        self.unsaved_length = sum(len(event.text) for event in self.unsaved if isinstance(event, Delta))

    def cut(self, reason: str) -> None:
        """End it where it is. Only the model is interrupted, and not the storing before and after it."""
        if self.task and self.cut_short is None:
            self.cut_short = reason
            if self.asking:
                self.task.cancel()

    def broken_off(self) -> Failed:
        """How it ends when it was cut."""
        reason = self.cut_short if self.cut_short in REASONS else INTERRUPTED
        return Failed(reason, REASONS[reason])

    def note(self, deltas: Sequence[Delta]) -> None:
        """What is more than a piece of text."""
        if isinstance(deltas[0], Continued):
            self.seams.append(deltas[0].seam)
        if self.outline is None and isinstance(deltas[0], CallPiece):
            self.outline = Outline()
            before = self.text
            deltas = [Delta(before), *deltas] if before else deltas
        if self.outline is not None:
            for delta in deltas:
                self.outline.feed(delta)

    def ending(self, completion: Completion, *, at: datetime) -> list[AnswerEvent]:
        """How it ends when it is complete."""
        self.counted = completion.usage
        text = self.text
        citations: list[AnswerEvent] = []
        if self.grounding:
            citations.append(Cited(cited(text, self.grounding.sources), self.grounding.relevance))
        usage = completion.usage and total(self.shares())
        return [*citations, Done(usage, completion.finish_reason, at), FullText(text)]

    def shares(self) -> list[Share]:
        """What it used so far: of a model that was asked to go on behind a break, also if it had nothing to add."""
        seams = self.seams
        if self.broken_at is not None:
            seams = [*seams, Seam(at=self.broken_at, model=self.request.model, reason=INTERRUPTED)]
        items = self.outline.items() if self.outline else ()
        return shares_of(self.request, self.text, seams, self.counted, items=items)

    def message(self, ending: Sequence[AnswerEvent], state: MessageState, *, at: datetime) -> Message:
        done = next((event for event in ending if isinstance(event, Done)), None)
        failure = next((event for event in ending if isinstance(event, Failed)), None)
        return Message(
            number=self.answer.number,
            role=Role.ASSISTANT,
            text=self.text,
            state=state,
            reason=failure.code if failure else _cut(done),
            model=self.request.model,
            usage=done.usage if done else None,
            citations=self._citations(ending),
            seams=tuple(self.seams),
            items=self.outline.items() if self.outline else (),
            created_at=(done and done.at) or at,
        )

    def _citations(self, ending: Sequence[AnswerEvent]) -> tuple[Citation, ...]:
        """What is there of a text that ends early may rest on sources as well."""
        told = next((event.citations for event in ending if isinstance(event, Cited)), None)
        if told is None and self.grounding:
            return cited(self.text, self.grounding.sources)
        return told or ()


def _cut(done: Done | None) -> str | None:
    """Why a complete answer is not as long as the model would have liked."""
    return done.finish_reason if done and done.finish_reason in CUT else None


def failed(error: DomainError) -> Failed:
    """An answer that ends with an error."""
    return Failed(error.code, str(error))
