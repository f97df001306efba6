"""`/v1/conversations`: the same conversations as under `/api`, item by item."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath
from msgspec import Meta

from llm_backend.application.conversation_items import (
    MOST_ITEMS,
    NOWHERE,
    AddItems,
    DescribeConversation,
    OpenConversation,
    Place,
    ReadItems,
    RemoveItem,
)
from llm_backend.application.conversations import DeleteConversation
from llm_backend.application.recalling_items import placed
from llm_backend.domain import api_keys
from llm_backend.domain.conversations import Conversation
from llm_backend.domain.errors import ConversationNotFound, ItemNotFound
from llm_backend.domain.ids import ConversationId
from llm_backend.domain.items import Reference
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.ids import CONVERSATION, number_in, numbered_id
from llm_backend.interface.http.openai.item_ids import reference_in
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_of, page_query, slice_of, sliced_page
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.response_objects import ItemOut, placed_out
from llm_backend.interface.http.openai.response_requests import Object, items_in
from llm_backend.interface.http.rest.parameters import Asked, Body

TAGS = ["OpenAI"]

Items = Annotated[list[Object], Meta(max_length=MOST_ITEMS)]


class NewConversationIn(msgspec.Struct):
    metadata: dict[str, str] | None = None
    items: Items | None = None


class MetadataIn(msgspec.Struct):
    metadata: dict[str, str] | None


class ItemsIn(msgspec.Struct):
    items: Annotated[Items, Meta(examples=[[{"type": "message", "role": "user", "content": "Hello."}]])]


class ConversationOut(msgspec.Struct):
    id: str
    created_at: int
    metadata: dict[str, str]
    object: Literal["conversation"] = "conversation"


class DeletedConversationOut(msgspec.Struct):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class OpenAiConversationsController(Controller):
    path = "/conversations"
    security = SIGNED_IN
    tags = TAGS
    opt = good_for(api_keys.Scope.CHAT)

    @post("/", status_code=200, operation_class=RepeatableOperation, responses=openai_failures(404, 409, 413, 415, 507))
    async def create(
        self, data: Body[NewConversationIn], open_conversation: Asked[OpenConversation], request: OpenAiRequest
    ) -> ConversationOut:
        """Begin a conversation, with up to 20 items in it."""
        made = await open_conversation(
            request.owner,
            data.metadata or {},
            items_in(data.items or [], "items"),
            idempotency=idempotency(request.scope, data),
        )
        return conversation_out(made)

    @get("/{conversation_id:str}", responses=openai_failures(404))
    async def find(
        self, conversation_id: FromPath[str], read_items: Asked[ReadItems], request: OpenAiRequest
    ) -> ConversationOut:
        """A conversation, wherever it was begun."""
        thread = await read_items(request.owner, named_conversation(conversation_id), limit=1)
        return conversation_out(thread.conversation)

    @post("/{conversation_id:str}", status_code=200, responses=openai_failures(404, 413, 507))
    async def describe(
        self,
        conversation_id: FromPath[str],
        data: Body[MetadataIn],
        describe_conversation: Asked[DescribeConversation],
        request: OpenAiRequest,
    ) -> ConversationOut:
        """Give it other metadata."""
        named = named_conversation(conversation_id)
        return conversation_out(await describe_conversation(request.owner, named, data.metadata or {}))

    @delete("/{conversation_id:str}", status_code=200, responses=openai_failures(404, 507))
    async def drop(
        self,
        conversation_id: FromPath[str],
        delete_conversation: Asked[DeleteConversation],
        request: OpenAiRequest,
    ) -> DeletedConversationOut:
        """Delete it with all that was said in it, for good."""
        await delete_conversation(request.owner, named_conversation(conversation_id))
        return DeletedConversationOut(conversation_id)

    @post(
        "/{conversation_id:str}/items",
        status_code=200,
        operation_class=RepeatableOperation,
        responses=openai_failures(404, 409, 413, 415, 507),
    )
    async def add(
        self, conversation_id: FromPath[str], data: Body[ItemsIn], add_items: Asked[AddItems], request: OpenAiRequest
    ) -> Page[ItemOut]:
        """Say up to 20 things, without asking for an answer."""
        named = named_conversation(conversation_id)
        repeated = idempotency(request.scope, data)
        messages = await add_items(request.owner, named, items_in(data.items, "items"), idempotency=repeated)
        return page_of([placed_out(one, named) for one in placed(messages)], lambda item: item.id)

    @get("/{conversation_id:str}/items", dependencies={"page": page_query()}, responses=openai_failures(404))
    async def items(
        self,
        conversation_id: FromPath[str],
        read_items: Asked[ReadItems],
        request: OpenAiRequest,
        page: Asked[PageQuery],
    ) -> Page[ItemOut]:
        """What was said."""
        named = named_conversation(conversation_id)
        found = await read_items.page(request.owner, named, slice_of(page, place_in(named), nothing=NOWHERE))
        return sliced_page([placed_out(one, named) for one in found], page, lambda item: item.id)

    @get("/{conversation_id:str}/items/{item_id:str}", responses=openai_failures(404))
    async def item(
        self,
        conversation_id: FromPath[str],
        item_id: FromPath[str],
        read_items: Asked[ReadItems],
        request: OpenAiRequest,
    ) -> ItemOut:
        """One thing that was said."""
        named = named_conversation(conversation_id)
        await read_items(request.owner, named, limit=1)
        return placed_out(await read_items.item(request.owner, item_of(named, item_id)), named)

    @delete("/{conversation_id:str}/items/{item_id:str}", status_code=200, responses=openai_failures(404, 507))
    async def remove(
        self,
        conversation_id: FromPath[str],
        item_id: FromPath[str],
        remove_item: Asked[RemoveItem],
        request: OpenAiRequest,
    ) -> ConversationOut:
        """Delete one thing that was said, for good."""
        named = named_conversation(conversation_id)
        await remove_item.read(request.owner, named, limit=1)
        return conversation_out(await remove_item(request.owner, item_of(named, item_id)))


def named_conversation(name: str) -> ConversationId:
    """Raises `ConversationNotFound`."""
    number = number_in(CONVERSATION, name)
    if number is None:
        raise ConversationNotFound
    return ConversationId(number)


def item_of(conversation: ConversationId, name: str) -> Reference:
    """The item of that conversation that an id names. Raises `ItemNotFound`."""
    wanted = reference_in(name)
    if wanted.conversation != conversation:
        raise ItemNotFound
    return wanted


def place_in(conversation: ConversationId) -> Callable[[str], Place]:
    """Where an item of that conversation is, or was, by its id; raises `ItemNotFound`."""

    def place(name: str) -> Place:
        wanted = item_of(conversation, name)
        return wanted.number, wanted.index

    return place


def conversation_out(conversation: Conversation) -> ConversationOut:
    return ConversationOut(
        numbered_id(CONVERSATION, conversation.id),
        int(conversation.created_at.timestamp()),
        dict(conversation.metadata),
    )
