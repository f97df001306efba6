"""`/api/conversations`: create, list, read, delete."""

from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.params import FromPath, QueryParameter

from llm_backend.application.conversations import (
    CreateConversation,
    DeleteConversation,
    ListConversations,
    ReadHistory,
)
from llm_backend.domain.conversations import Conversation, ConversationSummary, Message, MessageState, Thread
from llm_backend.domain.ids import LARGEST_ID, ConversationId
from llm_backend.domain.secrets import Secret
from llm_backend.interface.http.citations import CitationOut, citation_out
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation, failures
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.requests import ApiRequest, conversation_in
from llm_backend.interface.http.rest.parameters import Asked, Body, MessageOut

TAGS = ["Conversations"]


class ConversationIn(msgspec.Struct):
    """`api_key` is needed only where the server has none for the model."""

    title: str
    model: str
    api_key: str | None = None


class ConversationOut(msgspec.Struct):
    conversation_id: int
    title: str
    model: str
    api_key: str
    created_time: int


class SummaryOut(msgspec.Struct):
    conversation_id: int
    title: str
    created_time: int


class SeamOut(msgspec.Struct):
    """From character `at` on, `model` wrote what the one before it, for `reason`, could not."""

    at: int
    model: str
    reason: str


class MessageInHistory(msgspec.Struct, omit_defaults=True):
    """`state` and `reason` are there only when the text ends early: `incomplete`, and the code of what happened,
    or `length` or `content_filter` when the model was not allowed to say more.

    `seams` are there only when other models than the conversation's went on with the answer, and `citations` only when
    it rests on documents: the same as at the end of its stream.
    """

    role: str
    content: str
    message_id: int
    state: str | None = None
    reason: str | None = None
    seams: list[SeamOut] | None = None
    citations: list[CitationOut] | None = None


class HistoryOut(msgspec.Struct):
    conversation_id: int
    title: str
    model: str
    messages: list[MessageInHistory]
    created_time: int


class ConversationsController(Controller):
    path = "/conversations"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/create",
        status_code=200,
        operation_class=RepeatableOperation,
        responses=failures(400, 401, 409, 413, 503, 507),
    )
    async def create(
        self, data: Body[ConversationIn], create_conversation: Asked[CreateConversation], request: ApiRequest
    ) -> ConversationOut:
        """Begin a conversation with a model. The key is shown in this reply, and never again."""
        key = Secret(data.api_key) if data.api_key else None
        made = await create_conversation(
            request.owner, data.title, data.model, key, idempotency=idempotency(request.scope, data)
        )
        return conversation_out(made, data.api_key or "")

    @get("/list", responses=failures(400, 401, 503))
    async def list_all(
        self,
        list_conversations: Asked[ListConversations],
        request: ApiRequest,
        limit: Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID)] = None,
        before: Annotated[int | None, QueryParameter(ge=1, le=LARGEST_ID)] = None,
    ) -> list[SummaryOut]:
        """The conversations of the user, newest first: all, or at most `limit`, older than the one named `before`. That
        may have been deleted within the last day."""
        start = None if before is None else ConversationId(before)
        return [summary_out(line) for line in await list_conversations(request.owner, limit=limit, before=start)]

    @get("/history/{conversation_id:str}", responses=failures(401, 404, 503))
    async def history(
        self, conversation_id: FromPath[str], read_history: Asked[ReadHistory], request: ApiRequest
    ) -> HistoryOut:
        """A conversation and all that was said in it."""
        return history_out(await read_history(request.owner, conversation_in(conversation_id)))

    @post("/del/{conversation_id:str}", status_code=200, responses=failures(401, 404, 503, 507))
    async def delete(
        self, conversation_id: FromPath[str], delete_conversation: Asked[DeleteConversation], request: ApiRequest
    ) -> MessageOut:
        """Delete a conversation and all that was said in it, for good."""
        await delete_conversation(request.owner, conversation_in(conversation_id))
        return MessageOut("Conversation deleted successfully")


def conversation_out(conversation: Conversation, api_key: str) -> ConversationOut:
    return ConversationOut(
        conversation_id=conversation.id,
        title=conversation.title,
        model=conversation.model,
        api_key=api_key,
        created_time=int(conversation.created_at.timestamp()),
    )


def summary_out(line: ConversationSummary) -> SummaryOut:
    return SummaryOut(line.id, line.title, int(line.created_at.timestamp()))


def history_out(thread: Thread) -> HistoryOut:
    conversation = thread.conversation
    return HistoryOut(
        conversation_id=conversation.id,
        title=conversation.title,
        model=conversation.model,
        messages=[message_out(message) for message in thread.messages],
        created_time=int(conversation.created_at.timestamp()),
    )


def message_out(message: Message) -> MessageInHistory:
    return MessageInHistory(
        role=message.role.value,
        content=message.text,
        message_id=message.number,
        state=MessageState.INCOMPLETE.value if message.ends_early else None,
        reason=message.reason,
        seams=[SeamOut(seam.at, seam.model, seam.reason) for seam in message.seams] or None,
        citations=[citation_out(citation) for citation in message.citations] or None,
    )
