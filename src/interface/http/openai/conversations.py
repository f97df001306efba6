"""`/v1/conversations`: the same conversations as under `/api`, item by item."""

from typing import Annotated, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath
from msgspec import Meta

from llm_backend.application.conversation_items import (
    MOST_ITEMS,
    AddItems,
    DescribeConversation,
    OpenConversation,
    ReadItems,
    RemoveItem,
    placed,
)
from llm_backend.application.conversations import DeleteConversation
from llm_backend.domain import api_keys
from llm_backend.domain.conversations import Conversation
from llm_backend.domain.errors import ConversationNotFound, ItemNotFound
from llm_backend.domain.ids import ConversationId
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.ids import CONVERSATION, number_in, numbered_id
from llm_backend.interface.http.openai.item_ids import place_in
from llm_backend.interface.http.openai.lists import Page, PageQuery, cut, page_of, page_query
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
    items: Items


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

    @post("/{conversation_id:str}", status_code=200, responses=openai_failures(404, 507))
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
        thread = await read_items(request.owner, named)
        items = [placed_out(one, named) for one in placed(thread.messages)]
        return cut(items[::-1] if page.newest_first else items, page, lambda item: item.id)

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
        number, index = place_of(named, item_id)
        found = placed_out(await read_items.item(request.owner, named, number, index), named)
        if found.id != item_id:
            raise ItemNotFound
        return found

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
        return conversation_out(await remove_item(request.owner, named, *place_of(named, item_id)))


def named_conversation(name: str) -> ConversationId:
    """Raises `ConversationNotFound`."""
    number = number_in(CONVERSATION, name)
    if number is None:
        raise ConversationNotFound
    return ConversationId(number)


def place_of(conversation: ConversationId, name: str) -> tuple[int, int]:
    """The message and the index that an item's id names. Raises `ItemNotFound`."""
    place = place_in(name)
    if place is None or place[0] != conversation:
        raise ItemNotFound
    return place[1], place[2]


def conversation_out(conversation: Conversation) -> ConversationOut:
    return ConversationOut(
        numbered_id(CONVERSATION, conversation.id),
        int(conversation.created_at.timestamp()),
        dict(conversation.metadata),
    )
