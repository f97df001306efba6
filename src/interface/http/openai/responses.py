"""`/v1/responses`: answers that can be built upon, streamed again, and left to run."""

from typing import Annotated, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.types import ASGIApp

from llm_backend.application.compacting import Compaction
from llm_backend.application.conversation_items import NOWHERE, check_places, part_of
from llm_backend.application.recalling_items import placed
from llm_backend.domain import api_keys
from llm_backend.domain.errors import ResponseNotFound
from llm_backend.domain.ids import LARGEST_ID, AnswerId
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.completions import JsonBytes
from llm_backend.interface.http.openai.conversations import place_in
from llm_backend.interface.http.openai.documentation import (
    UPSTREAM,
    ReadResponseOperation,
    RespondOperation,
    openai_failures,
)
from llm_backend.interface.http.openai.ids import RESPONSE, number_in, numbered_id
from llm_backend.interface.http.openai.item_ids import COMPACTION
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_query, slice_of, sliced_page, values_of
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.response_objects import (
    CompactionOut,
    ItemOut,
    ResponseOut,
    UsageOut,
    placed_out,
    queued_out,
    response_out,
    sealed_out,
    usage_out,
)
from llm_backend.interface.http.openai.response_requests import (
    RESULTS,
    CountIn,
    ResponseIn,
    allowed,
    wanted_response,
    wants_results,
)
from llm_backend.interface.http.openai.response_streams import ResponseDesk
from llm_backend.interface.http.rest.parameters import Asked, Body

TAGS = ["OpenAI"]

_encode = msgspec.json.Encoder().encode
_WHOLE = {
    200: ResponseSpec(ResponseOut, generate_examples=False, description="The response, or with `stream` its events")
}


class DeletedOut(msgspec.Struct):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class TokensOut(msgspec.Struct):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class CompactedOut(msgspec.Struct):
    id: str
    created_at: int
    output: list[CompactionOut]
    usage: UsageOut | None
    object: Literal["response.compaction"] = "response.compaction"


class ResponsesController(Controller):
    path = "/responses"
    security = SIGNED_IN
    tags = TAGS
    opt = good_for(api_keys.Scope.CHAT)

    @post(
        "/",
        status_code=200,
        operation_class=RespondOperation,
        responses=_WHOLE | openai_failures(404, 409, 413, 415, 429, 507, *UPSTREAM),
    )
    async def create(
        self, data: Body[ResponseIn], response_desk: Asked[ResponseDesk], request: OpenAiRequest
    ) -> ASGIApp:
        """Answer, on top of a previous response, in a conversation, or afresh: whole, as a stream, or in the
        background."""
        owner, with_results = request.owner, wants_results(data)
        repeated, key = idempotency(request.scope, data), request.access.key
        wanted = allowed(request.access, wanted_response(data))
        begun = await response_desk.respond(owner, wanted, idempotency=repeated, key=key)
        if data.stream:
            return await response_desk.stream(owner, begun, with_results=with_results)
        if data.background and begun.response.reply is None:
            out = response_out if begun.is_repeated else queued_out
            return JsonBytes(_encode(out(begun.response)))
        return response_desk.whole(owner, begun, with_results=with_results)

    @post(
        "/input_tokens",
        status_code=200,
        opt=good_for(api_keys.Scope.CHAT, changes=False),
        responses=openai_failures(404, 413, 415),
    )
    async def count(self, data: Body[CountIn], response_desk: Asked[ResponseDesk], request: OpenAiRequest) -> TokensOut:
        """How many tokens such a request would send to the model, as a cautious guess."""
        usual = "" if data.model else await response_desk.count.usual_model()
        wanted = allowed(request.access, wanted_response(data, usual))
        return TokensOut(await response_desk.count(request.owner, wanted))

    @post(
        "/compact",
        status_code=200,
        operation_class=RepeatableOperation,
        opt=good_for(api_keys.Scope.CHAT),
        responses=openai_failures(404, 409, 413, 415, *UPSTREAM),
    )
    async def compact(
        self, data: Body[ResponseIn], response_desk: Asked[ResponseDesk], request: OpenAiRequest
    ) -> CompactedOut:
        """Sum up what such a response would build upon, as an item that takes its place in a later input."""
        repeated = idempotency(request.scope, data)
        wanted = allowed(request.access, wanted_response(data))
        return compacted_out(await response_desk.compact(request.access, wanted, idempotency=repeated))

    @get("/{response_id:str}", operation_class=ReadResponseOperation, responses=_WHOLE | openai_failures(404))
    async def find(
        self,
        response_id: FromPath[str],
        response_desk: Asked[ResponseDesk],
        request: OpenAiRequest,
        stream: Annotated[bool, QueryParameter()] = False,
        starting_after: Annotated[int, QueryParameter(ge=-1, le=LARGEST_ID)] = -1,
    ) -> ASGIApp:
        """A response as it is now; or the stream of its events, all or those after number `starting_after`, for as
        long as they are kept."""
        response = await response_desk.find(request.owner, response_in(response_id))
        with_results = RESULTS in values_of(request, "include")
        if with_results and response.sources:
            request.access.check(api_keys.Scope.FILES, changes=False)
        if stream:
            return await response_desk.resume(request.owner, response, starting_after, with_results=with_results)
        return JsonBytes(_encode(response_out(response, with_results=with_results)))

    @post("/{response_id:str}/cancel", status_code=200, responses=openai_failures(404, 507))
    async def cancel(
        self, response_id: FromPath[str], response_desk: Asked[ResponseDesk], request: OpenAiRequest
    ) -> ResponseOut:
        """End a response where it is. What there is of it is kept."""
        return response_out(await response_desk.cancel(request.owner, response_in(response_id)))

    @delete("/{response_id:str}", status_code=200, responses=openai_failures(404, 507))
    async def drop(
        self, response_id: FromPath[str], response_desk: Asked[ResponseDesk], request: OpenAiRequest
    ) -> DeletedOut:
        """Delete a response, for good. What is in a conversation stays there."""
        await response_desk.delete(request.owner, response_in(response_id))
        return DeletedOut(response_id)

    @get("/{response_id:str}/input_items", dependencies={"page": page_query()}, responses=openai_failures(404))
    async def input_items(
        self,
        response_id: FromPath[str],
        response_desk: Asked[ResponseDesk],
        request: OpenAiRequest,
        page: Asked[PageQuery],
    ) -> Page[ItemOut]:
        """What the response was asked."""
        response = await response_desk.find(request.owner, response_in(response_id))
        conversation = response.answer.conversation
        part = slice_of(page, place_in(conversation), nothing=NOWHERE)
        check_places(part, last=response.question.number, first=response.question.number)
        items = [placed_out(one, conversation) for one in part_of(placed([response.question]), part)]
        return sliced_page(items, page, lambda item: item.id)


def compacted_out(compaction: Compaction) -> CompactedOut:
    item = CompactionOut(numbered_id(COMPACTION, compaction.id), sealed_out(compaction.summary))
    at = int(compaction.at.timestamp())
    return CompactedOut(numbered_id(RESPONSE, compaction.id), at, [item], usage_out(compaction.usage))


def response_in(name: str) -> AnswerId:
    """Raises `ResponseNotFound`."""
    number = number_in(RESPONSE, name)
    if number is None:
        raise ResponseNotFound
    return AnswerId(number)
