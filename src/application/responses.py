"""Responses: begin, find, cancel and delete them, and say what they would cost."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import FollowAnswer, StopAnswer
from llm_backend.application.composing import RECALLED_MESSAGES
from llm_backend.application.composing_responses import ComposeResponse
from llm_backend.application.grounding import GroundAnswer, NoteFiles
from llm_backend.application.metering import cost_of
from llm_backend.application.models import NOBODY_ANSWERS, knowledge_base_in
from llm_backend.application.ports.answer_journal import AnswerJournal, Turn
from llm_backend.application.ports.chat_model import ChatRequest
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.model_catalogue import ModelCatalogue
from llm_backend.application.ports.responses import ResponseViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import ConversationViews
from llm_backend.application.reading_inputs import ReadInputFiles, files_of
from llm_backend.application.sourcing import DocumentSearch, FindSources
from llm_backend.domain.answers import Answer, AnswerState
from llm_backend.domain.conversations import Conversation, Message, Role, Thread, check_model
from llm_backend.domain.errors import InvalidInput, MessageTooLong, ResponseNotFound, TooManyStreams, UnknownModel
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, UserId
from llm_backend.domain.items import FunctionResult, Given, Item, Reference, Said, Speaker, texts_of
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.responses import Response, ResponseRequest
from llm_backend.domain.text import is_storable
from llm_backend.domain.window import ANSWER_SHARE, estimated_tokens

UNLISTED = "Response"  # the title of a conversation that nobody sees
MOST_FOUND = 50  # passages
USUALLY_FOUND = 20
NOTHING = Said.plain(Speaker.USER, "")  # which no model is told


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedResponse:
    """What a client asks for: `items` on top of a previous response, of a conversation, or of nothing.

    One that is not to be `stored` is gone with the reply. `earlier` is what it builds upon that nobody has stored.
    """

    request: ResponseRequest
    items: Sequence[Given]
    conversation: ConversationId | None = None
    stored: bool = True
    search: DocumentSearch | None = None
    earlier: Sequence[Message] = ()

    @property
    def reads_files(self) -> bool:
        """Whether the answer tells what is in stored files."""
        is_knowledge = knowledge_base_in(self.request.model) is not None
        return is_knowledge or self.search is not None or any(part.file for part in files_of(self.items))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where responses are written, kept and followed."""

    journal: AnswerJournal
    runner: AnswerRunner
    responses: ResponseViews
    transactions: UnitOfWorkFactory
    follow: FollowAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A response that is being written, and where. `is_repeated`: an earlier request with the same key has begun it."""

    response: Response
    shelf: Shelf
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that it takes to begin."""

    conversation: Conversation
    question: Message
    request: ResponseRequest
    grounding: Grounding | None
    prompt: ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareResponse:
    """Look up what a response builds upon, and what the documents say."""

    conversations: ConversationViews
    compose: ComposeResponse
    read_files: ReadInputFiles
    find: FindSources
    ground: GroundAnswer
    note_files: NoteFiles
    ids: IdSource
    now: Clock
    answering_model: str  # for those who name a knowledge base in the place of a model

    async def __call__(self, owner: UserId, wanted: WantedResponse, *, key: ApiKeyId | None = None) -> Prepared:
        """Raises what `ComposeResponse` and `ReadInputFiles` do, `InvalidInput`, `ConversationNotFound`,
        `KnowledgeBaseNotFound`, and `MessageTooLong` when the files alone do not fit the model's window."""
        _check(wanted)
        wanted = self._of_knowledge(wanted)
        items = await self.read_files(owner, wanted.items)
        wanted = replace(wanted, items=items)
        self._check_room(wanted)
        thread = await self._thread(owner, wanted)
        conversation = thread.conversation
        question = question_of(conversation, items, at=self.now())
        request, grounding = await self._grounded(thread, wanted, key)
        prompt = await self.compose(conversation, request, thread.messages, question, grounding)
        return Prepared(
            conversation=conversation, question=question, request=request, grounding=grounding, prompt=prompt
        )

    def _of_knowledge(self, wanted: WantedResponse) -> WantedResponse:
        """A knowledge base for a model means to look there, and then to ask the model that answers for it."""
        request = wanted.request
        knowledge_base = knowledge_base_in(request.model)
        if knowledge_base is None:
            return wanted
        if not self.answering_model:
            raise UnknownModel(NOBODY_ANSWERS)
        search = wanted.search or DocumentSearch(knowledge_bases=(), limit=USUALLY_FOUND)
        return replace(
            wanted,
            request=replace(request, model=self.answering_model, shown={**request.shown, "model": request.model}),
            search=replace(search, knowledge_bases=[*search.knowledge_bases, knowledge_base]),
        )

    def _check_room(self, wanted: WantedResponse) -> None:
        """A provider would say so as well, but not why."""
        needed = sum(estimated_tokens(file.text or "") for file in files_of(wanted.items))
        window = self.compose.model.window(wanted.request.model) if needed else 0
        if needed > (room := window - window // ANSWER_SHARE):
            raise MessageTooLong(f"The files have about {needed} tokens of text, and the model takes {room} at most")

    async def _thread(self, owner: UserId, wanted: WantedResponse) -> Thread:
        """What it builds upon: in the conversation that is named, or in one of its own."""
        if wanted.conversation is not None:
            return await self.conversations.thread(owner, wanted.conversation, limit=RECALLED_MESSAGES)
        own = Conversation(
            id=ConversationId(self.ids.number()),
            owner=owner,
            title=UNLISTED,
            model=wanted.request.model,
            listed=False,
            created_at=self.now(),
        )
        past, previous = wanted.earlier, wanted.request.previous
        if previous is not None and not past:
            past = await self.compose.before(owner, previous)
        return Thread(conversation=own, messages=past)

    async def _grounded(
        self, thread: Thread, wanted: WantedResponse, key: ApiKeyId | None
    ) -> tuple[ResponseRequest, Grounding | None]:
        """With what the documents say about the user's last message, if they are to be looked at."""
        request, search, question = wanted.request, wanted.search, _last_words(wanted.items)
        if search is None or not question.strip():
            return request, None
        owner, window = thread.conversation.owner, self.compose.model.window(request.model)
        asked = replace(thread, conversation=_asked_by(thread.conversation, request.model))
        search = replace(search, limit=min(search.limit, MOST_FOUND))
        budget = self.ground.budget(question, window)
        material = await self.find(owner, search, asked, question, budget=budget, key=key)
        request = replace(request, searched=tuple(material.queries))
        if not material.passages:
            return request, None
        grounding = await self.ground(owner, material, question=question, window=window)
        return request, await self.note_files(owner, material, grounding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """Store the input and start to answer it. The answer goes on whoever listens.

    What is not to be stored lives the same life `in_passing`: on a shelf in memory.
    """

    stored: Shelf
    in_passing: Shelf
    prepare: PrepareResponse
    streams_per_user: int | None = None

    async def __call__(
        self,
        owner: UserId,
        wanted: WantedResponse,
        *,
        idempotency: IdempotencyKey | None = None,
        key: ApiKeyId | None = None,
    ) -> Begun:
        """Raises what `PrepareResponse` and `AnswerRunner.begin` do, and `TooManyStreams`."""
        shelf = self.stored if wanted.stored else self.in_passing
        shelf.runner.check_open()
        if idempotency and (earlier := await shelf.journal.answer_for(owner, idempotency)):
            return Begun(response=await shelf.responses.find(owner, earlier), shelf=shelf, is_repeated=True)
        prepared = await self.prepare(owner, wanted, key=key)
        if self.streams_per_user is not None and self._count(owner) >= self.streams_per_user:
            raise TooManyStreams
        turn = replace(self._turn(owner, prepared, idempotency), key=key)
        begun = _as_begun(turn, prepared)
        answer = await shelf.runner.begin(turn, prepared.prompt)
        if answer != turn.answer.id:
            return Begun(response=await shelf.responses.find(owner, answer), shelf=shelf, is_repeated=True)
        return Begun(response=begun, shelf=shelf)

    def _count(self, owner: UserId) -> int:
        return self.stored.runner.count(owner) + self.in_passing.runner.count(owner)

    def _turn(self, owner: UserId, prepared: Prepared, idempotency: IdempotencyKey | None) -> Turn:
        conversation, question = prepared.conversation, prepared.question
        answer = Answer(
            id=AnswerId(self.prepare.ids.number()),
            owner=owner,
            conversation=conversation.id,
            number=question.number + 1,
        )
        return Turn(
            question=question,
            answer=answer,
            started_at=question.created_at,
            idempotency=idempotency,
            grounding=prepared.grounding,
            response=prepared.request,
            opens=None if conversation.listed else replace(conversation, last_number=question.number - 1),
        )


def _as_begun(turn: Turn, prepared: Prepared) -> Response:
    return Response(
        answer=turn.answer,
        request=prepared.request,
        in_conversation=prepared.conversation.listed,
        question=turn.question,
        reply=None,
        sources=prepared.grounding.sources if prepared.grounding else (),
        started_at=turn.started_at,
    )


@dataclass(frozen=True, slots=True)
class CountInput:
    """How many tokens the input of a response would be, cautiously guessed: nobody here has the model's vocabulary."""

    prepare: PrepareResponse
    catalogue: ModelCatalogue

    async def usual_model(self) -> str:
        """The model that it is counted for if none is named; no name, if there is none."""
        if self.prepare.answering_model:
            return self.prepare.answering_model
        listed = await self.catalogue.models()
        return listed[0].id if listed else ""

    async def __call__(self, owner: UserId, wanted: WantedResponse) -> int:
        """Raises what `PrepareResponse` does; but what builds upon something may add nothing to it. Documents are not
        looked at."""
        builds_upon = wanted.conversation is not None or wanted.request.previous is not None
        items = wanted.items or ([NOTHING] if builds_upon else [])
        prepared = await self.prepare(owner, replace(wanted, items=items, search=None))
        return sum(map(cost_of, prepared.prompt.turns))


@dataclass(frozen=True, slots=True)
class ForgetResponse:
    """Let go of what was not to be stored, whether it has ended or not."""

    shelf: Shelf

    async def __call__(self, owner: UserId, response: Response) -> None:
        """No error when it is gone already."""
        with suppress(ResponseNotFound):
            async with self.shelf.transactions() as work:
                await work.responses.remove(owner, response.answer.id)
                await work.commit()
        await self.shelf.runner.abandon(response.answer.conversation)


@dataclass(frozen=True, slots=True)
class FindResponse:
    """A response as it is now."""

    responses: ResponseViews

    async def __call__(self, owner: UserId, response: AnswerId) -> Response:
        """Raises `ResponseNotFound`."""
        return await self.responses.find(owner, response)


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """End a response where it is; what there is of it is kept. Nothing happens to one that has ended."""

    responses: ResponseViews
    stop: StopAnswer

    async def __call__(self, owner: UserId, response: AnswerId) -> Response:
        """Raises `ResponseNotFound`."""
        found = await self.responses.find(owner, response)
        if found.answer.state is not AnswerState.RUNNING:
            return found
        await self.stop.one(found.answer)
        return await self.responses.find(owner, response)


@dataclass(frozen=True, slots=True)
class DeleteResponse:
    """Delete a response; what is in a conversation stays there. One that is being written is given up."""

    shelf: Shelf
    stop: StopAnswer

    async def __call__(self, owner: UserId, response: AnswerId) -> None:
        """Raises `ResponseNotFound`."""
        found = await self.shelf.responses.find(owner, response)
        if found.in_conversation and found.answer.state is AnswerState.RUNNING:
            await self.stop.one(found.answer)  # nobody could stop it later, nor ask anything else there meanwhile
        async with self.shelf.transactions() as work:
            await work.responses.remove(owner, response)
            await work.commit()
        if not found.in_conversation:
            await self.shelf.runner.abandon(found.answer.conversation)


def _check(wanted: WantedResponse) -> None:
    request = wanted.request
    check_model(request.model)
    if wanted.conversation is not None and request.previous is not None:
        raise InvalidInput("Give a previous response or a conversation, but not both")
    if wanted.conversation is not None and not wanted.stored:
        raise InvalidInput("What is added to a conversation is stored")
    if request.background and not wanted.stored:
        raise InvalidInput("What runs in the background is stored")
    if not wanted.items:
        raise InvalidInput("The input is empty")
    check_items(wanted.items)
    if request.instructions and not is_storable(request.instructions):
        raise InvalidInput


def check_items(items: Sequence[Given]) -> None:
    """Raises `InvalidInput` for what no database takes."""
    said = (item for item in items if not isinstance(item, Reference))
    if not all(is_storable(text) for item in said for text in texts_of(item)):
        raise InvalidInput("Texts must not contain NUL characters or halves of surrogate pairs")


def question_of(conversation: Conversation, items: Sequence[Item], *, at: datetime) -> Message:
    """The input as the next message. A plain question becomes what it would be anywhere else."""
    first = items[0]
    if len(items) == 1 and isinstance(first, Said) and first.speaker is Speaker.USER and first.is_plain:
        return conversation.add(Role.USER, first.text, at=at)
    said = [item.text for item in items if isinstance(item, Said) and item.speaker is Speaker.USER]
    results = [item.output for item in items if isinstance(item, FunctionResult)]
    return conversation.add(Role.USER, "\n\n".join(said or results), items, at=at)


def _asked_by(conversation: Conversation, model: str) -> Conversation:
    """For a question in other words, which the model of this response is asked for. The key is for the other one."""
    return conversation if conversation.model == model else replace(conversation, model=model, api_key=None)


def _last_words(items: Sequence[Given]) -> str:
    said = [item for item in items if isinstance(item, Said) and item.speaker is Speaker.USER]
    return said[-1].text if said else ""
