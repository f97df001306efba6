"""What a model is asked for a response: all that it builds upon, and its own input."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from llm_backend.application.composing import RECALLED_MESSAGES, ComposeRequest
from llm_backend.application.metering import cost_of
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn
from llm_backend.application.ports.responses import ResponseViews
from llm_backend.application.ports.views import ConversationViews
from llm_backend.domain.answers import Answer
from llm_backend.domain.conversations import Conversation, Message, Role
from llm_backend.domain.errors import AnswerInProgress, PreviousResponseNotFound, ResponseNotFound
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.items import (
    Content,
    FilePart,
    FunctionCall,
    FunctionResult,
    ImagePart,
    Item,
    Said,
    Shown,
    Speaker,
    Summary,
    TextPart,
)
from llm_backend.domain.prompting import Grounding, attached_prompt
from llm_backend.domain.responses import Response, ResponseRequest
from llm_backend.domain.window import ANSWER_SHARE

LONGEST_LINEAGE = 1000  # responses
SUMMARY = "What was said before, in short:\n\n"

_ROLES = {
    Speaker.SYSTEM: Role.SYSTEM,
    Speaker.DEVELOPER: Role.SYSTEM,  # which servers other than OpenAI's do not know
    Speaker.USER: Role.USER,
    Speaker.ASSISTANT: Role.ASSISTANT,
}


@dataclass(frozen=True, slots=True)
class ComposeResponse:
    """The prompt of a response, with the key of its conversation where that has one for the model."""

    compose: ComposeRequest
    responses: ResponseViews
    conversations: ConversationViews

    @property
    def model(self) -> ChatModel:
        return self.compose.model

    async def __call__(
        self,
        conversation: Conversation,
        request: ResponseRequest,
        past: Sequence[Message],
        question: Message,
        grounding: Grounding | None,
    ) -> ChatRequest:
        """`past` is what was said before, if that is not to be looked up. Raises `UnknownModel`, `ApiKeyRequired`,
        `ApiKeyUnreadable`, `PreviousResponseNotFound`, or `AnswerInProgress` while the previous one is written."""
        has_key = conversation.api_key is not None and conversation.model == request.model
        self.model.check(request.model, own_key=has_key)
        if request.previous is not None and not past:
            past = await self.before(conversation.owner, request.previous)
        instructions = [grounding.instructions] if grounding else []
        instructions += [request.instructions] if request.instructions else []
        turns = [
            *(ChatTurn(role=Role.SYSTEM, text=text) for text in instructions),
            *turns_of([*past, question]),
        ]
        if request.shown.get("truncation") == "auto":
            turns = shortened(turns, self.model.window(request.model))
        key = self.compose.api_key(conversation) if has_key else None
        return ChatRequest(model=request.model, turns=turns, api_key=key, options=request.options)

    async def again(self, answer: Answer, grounding: Grounding | None) -> ChatRequest | None:
        """The same once more, for whoever goes on with the answer; None when it is no response."""
        try:
            response = await self.responses.find(answer.owner, answer.id)
        except ResponseNotFound:
            return None
        thread = await self.conversations.thread(
            answer.owner, answer.conversation, limit=RECALLED_MESSAGES + 1, unlisted=True
        )
        past = [message for message in thread.messages if message.number < response.question.number]
        return await self(thread.conversation, response.request, past, response.question, grounding)

    async def before(self, owner: UserId, previous: AnswerId) -> list[Message]:
        """All that was said up to the end of a response, oldest first."""
        try:
            lineage = await self.responses.lineage(owner, previous, limit=LONGEST_LINEAGE)
        except ResponseNotFound as error:
            raise PreviousResponseNotFound from error
        if lineage[-1].reply is None:
            raise AnswerInProgress
        oldest = lineage[0]
        if oldest.request.previous is not None and len(lineage) < LONGEST_LINEAGE:
            raise PreviousResponseNotFound
        said = [message for response in lineage for message in _messages(response)]
        return [*await self._before_in_conversation(owner, oldest), *said]

    async def _before_in_conversation(self, owner: UserId, response: Response) -> list[Message]:
        if not response.in_conversation:
            return []
        thread = await self.conversations.thread(owner, response.answer.conversation)
        return [message for message in thread.messages if message.number < response.question.number]


def _messages(response: Response) -> Iterator[Message]:
    yield response.question
    if response.reply is not None:
        yield response.reply


def turns_of(messages: Iterable[Message]) -> list[ChatTurn]:
    """What of them a model is told. Calls without a result are left out, and results without a call: no server takes
    one without the other."""
    items = [item for message in messages for item in _items(message)]
    called = {item.call_id for item in items if isinstance(item, FunctionCall)}
    answered = {item.call_id for item in items if isinstance(item, FunctionResult)}
    turns: list[ChatTurn] = []
    for item in items:
        match item:
            case Summary(text):
                turns = [ChatTurn(role=Role.SYSTEM, text=SUMMARY + text)]
            case Said():
                turns += _said(item)
            case FunctionCall(call_id=call_id) if call_id in answered:
                _call(turns, item)
            case FunctionResult(call_id=call_id) if call_id in called:
                turns.append(ChatTurn(role=Role.USER, text=_result(item), result_of=call_id))
            case _:
                pass
    return turns


def _items(message: Message) -> Sequence[Item]:
    return message.items or [said_of(message)]


def said_of(message: Message) -> Said:
    """A message of nothing but text, as the item that it is."""
    return Said.plain(Speaker(message.role.value), message.text)


def _said(item: Said) -> list[ChatTurn]:
    parts = tuple(map(_shown, item.parts))
    text, has_image = _text(parts), any(isinstance(part, ImagePart) for part in parts)
    if not text and not has_image:
        return []
    return [ChatTurn(role=_ROLES[item.speaker], text=text, parts=parts if has_image else ())]


def _result(item: FunctionResult) -> str:
    return _text(map(_shown, item.parts)) if item.parts else item.output


def _text(parts: Iterable[Shown]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _shown(part: Content) -> Shown:
    """Of a file, what it says: chat completions have no files that every server takes."""
    if isinstance(part, FilePart):
        return TextPart(attached_prompt(part.name, part.text or "", part.mark))
    return part


def _call(turns: list[ChatTurn], call: FunctionCall) -> None:
    """Calls belong to the turn of the model that is there already, if it has just said something."""
    last = turns[-1] if turns else None
    if last is not None and last.role is Role.ASSISTANT:
        turns[-1] = replace(last, calls=[*last.calls, call])
    else:
        turns.append(ChatTurn(role=Role.ASSISTANT, text="", calls=[call]))


def shortened(turns: Sequence[ChatTurn], window: int) -> list[ChatTurn]:
    """Without the oldest turns behind the instructions, as far as the rest would not fit. What is left begins with a
    user; the last turn stays in any case."""
    room = window - window // ANSWER_SHARE
    kept = list(turns)
    first = next((place for place, turn in enumerate(kept) if turn.role is not Role.SYSTEM), len(kept))
    while len(kept) > first + 1 and sum(map(cost_of, kept)) > room:
        del kept[first]
        while len(kept) > first + 1 and (kept[first].role is Role.ASSISTANT or kept[first].result_of is not None):
            del kept[first]
    return kept
