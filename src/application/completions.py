"""Stateless answers: a request in the client's words goes to a model, or to one with what a knowledge base says."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from llm_backend.application.grounding import GroundAnswer
from llm_backend.application.models import knowledge_base_in
from llm_backend.application.places import Places
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.completions import Completions, Pour, Streamed, VerbatimReply, VerbatimRequest
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.retrieval import LONGEST_QUERY, Retrieve
from llm_backend.application.sourcing import Material
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.api_keys import Access
from llm_backend.domain.errors import KnowledgeBaseNotFound, NothingRelevant, UnknownModel
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.usage import UsageKind

Question = Callable[[], str]
"""The text of the last thing that a user said in a request. Raises `InvalidMessage` when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundRequest:
    """Turn a request to a knowledge base into one to a model, with what the knowledge base says to the question."""

    knowledge: KnowledgeViews
    retrieve: Retrieve
    ground: GroundAnswer
    models: ChatModel
    model: str
    answer_without_passages: bool = False

    async def __call__(self, owner: UserId, request: VerbatimRequest, question: Question) -> VerbatimRequest:
        """The request itself, if it is to a model. Raises `UnknownModel`, `NothingRelevant` and
        `MessageTooLong`."""
        knowledge_base = knowledge_base_in(request.model)
        if knowledge_base is None:
            return request
        return replace(
            request, model=self.model, instructions=await self._instructions(owner, knowledge_base, question())
        )

    async def _instructions(self, owner: UserId, knowledge_base: KnowledgeBaseId, question: str) -> str | None:
        try:
            await self.knowledge.knowledge_base(owner, knowledge_base)
        except KnowledgeBaseNotFound as error:
            raise UnknownModel from error
        found = await self.retrieve(owner, knowledge_base, question[:LONGEST_QUERY])
        if not found.relevant:
            if not self.answer_without_passages:
                raise NothingRelevant
            return None
        material = Material(passages=found.passages, relevance=found.relevance)
        window = self.models.window(self.model)
        return (await self.ground(owner, material, question=question, window=window)).instructions


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
            reply = await self.completions.complete(await self.ground(access.user, request, question))
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
        request = await self.ground(access.user, request, question)
        streamed = Streamed()
        try:
            await self.completions.stream(request, pour, streamed)
        finally:
            if streamed.usage is not None:
                model, tokens = streamed.model, streamed.usage
                self.record(access, UsageKind.CHAT, model, tokens, is_estimated=streamed.is_estimated)
