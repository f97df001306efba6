"""Stateless answers: a request in the client's words goes to a model, or to one with what a knowledge base says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llm_backend.application.grounding import GroundAnswer
from llm_backend.application.models import NOBODY_ANSWERS, knowledge_base_in
from llm_backend.application.places import Places
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.completions import Completions, Pour, Streamed, VerbatimReply, VerbatimRequest
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.rewriting import NOWHERE
from llm_backend.application.sourcing import DocumentSearch, FindSources
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.api_keys import Access, Scope
from llm_backend.domain.conversations import Conversation, Message, Role, Thread
from llm_backend.domain.errors import KnowledgeBaseNotFound, NothingRelevant, UnknownModel
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.usage import UsageKind

TALK = "Chat"  # the title of a conversation that the client keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What a user said last in a request, and the texts before it, oldest first."""

    question: str
    before: Sequence[tuple[Role, str]] = ()


Question = Callable[[], Talk]
"""Reads the messages of a request, which only a knowledge base wants to know. Raises `InvalidMessage` when no user said
anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundRequest:
    """Turn a request to a knowledge base into one to a model, with what the knowledge base says to the question."""

    knowledge: KnowledgeViews
    find: FindSources
    ground: GroundAnswer
    models: ChatModel
    model: str
    now: Clock
    answer_without_passages: bool = False

    async def __call__(self, access: Access, request: VerbatimRequest, question: Question) -> VerbatimRequest:
        """The request itself, if it is to a model. Raises `UnknownModel`, `NothingRelevant`, `MessageTooLong`, and
        `ScopeMissing` unless the key is good for files."""
        knowledge_base = knowledge_base_in(request.model)
        if knowledge_base is None:
            return request
        access.check(Scope.FILES, changes=False)
        if not self.model:
            raise UnknownModel(NOBODY_ANSWERS)
        return replace(
            request, model=self.model, instructions=await self._instructions(access, knowledge_base, question())
        )

    async def _instructions(self, access: Access, knowledge_base: KnowledgeBaseId, talk: Talk) -> str | None:
        owner, window = access.user, self.models.window(self.model)
        try:
            await self.knowledge.knowledge_base(owner, knowledge_base)
        except KnowledgeBaseNotFound as error:
            raise UnknownModel from error
        search, budget = DocumentSearch(knowledge_bases=[knowledge_base]), self.ground.budget(talk.question, window)
        thread = self._thread(owner, talk)
        material = await self.find(owner, search, thread, talk.question, budget=budget, key=access.key)
        if not material.passages:
            if not self.answer_without_passages:
                raise NothingRelevant
            return None
        return (await self.ground(owner, material, question=talk.question, window=window)).instructions

    def _thread(self, owner: UserId, talk: Talk) -> Thread:
        at = self.now()
        conversation = Conversation(id=NOWHERE, owner=owner, title=TALK, model=self.model, listed=False, created_at=at)
        said = enumerate(talk.before, start=1)
        messages = [Message(number=number, role=role, text=text, created_at=at) for number, (role, text) in said]
        return Thread(conversation=conversation, messages=messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteChat:
    """An answer in one piece."""

    completions: Completions
    ground: GroundRequest
    record: RecordUsage
    places: Places

    async def __call__(self, access: Access, request: VerbatimRequest, question: Question) -> VerbatimReply:
        """Raises what `Completions` raises, `NothingRelevant`, `InvalidMessage` and `TooManyStreams`."""
        with self.places.one_for(access.user):
            reply = await self.completions.complete(await self.ground(access, request, question))
        self.record(access, UsageKind.CHAT, reply.model, reply.usage, is_estimated=reply.is_estimated)
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamChat:
    """An answer as it is written. It ends with whoever reads it; what was written till then is accounted for."""

    completions: Completions
    ground: GroundRequest
    record: RecordUsage
    places: Places

    async def __call__(self, access: Access, request: VerbatimRequest, question: Question, pour: Pour) -> None:
        """Raises the same, before anything has been handed to `pour` or after."""
        with self.places.one_for(access.user):
            await self._stream(access, request, question, pour)

    async def _stream(self, access: Access, request: VerbatimRequest, question: Question, pour: Pour) -> None:
        request = await self.ground(access, request, question)
        streamed = Streamed()
        try:
            await self.completions.stream(request, pour, streamed)
        finally:
            if streamed.usage is not None:
                model, tokens = streamed.model, streamed.usage
                self.record(access, UsageKind.CHAT, model, tokens, is_estimated=streamed.is_estimated)
