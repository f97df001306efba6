"""From a body of `/v1/responses` to what is wanted, and to what a model's server is told in words of its own.

Long because: it is one body, field by field and item by item.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from llm_backend.application.responses import USUALLY_FOUND, WantedResponse
from llm_backend.application.sourcing import DocumentSearch
from llm_backend.domain.api_keys import Access, Scope
from llm_backend.domain.errors import (
    ConversationNotFound,
    InvalidInput,
    KnowledgeBaseNotFound,
    PreviousResponseNotFound,
)
from llm_backend.domain.ids import AnswerId, ConversationId, KnowledgeBaseId
from llm_backend.domain.items import (
    Content,
    FilePart,
    FunctionCall,
    FunctionResult,
    Given,
    ImagePart,
    Reference,
    Said,
    Speaker,
    Summary,
    TextPart,
)
from llm_backend.domain.responses import ResponseRequest
from llm_backend.interface.http.errors import InvalidBody
from llm_backend.interface.http.openai.ids import (
    CONVERSATION,
    FILE_SEARCH_CALL,
    RESPONSE,
    VECTOR_STORE,
    file_in,
    number_in,
    uuid_in,
)
from llm_backend.interface.http.openai.item_ids import reference_in
from llm_backend.interface.http.openai.response_objects import DEFAULTS
from llm_backend.interface.http.rest.filters import FilterIn, condition_of

UNNAMED_FILE = "file"
RESULTS = "file_search_call.results"
Name = Annotated[str, Meta(min_length=1, max_length=255)]
T = TypeVar("T")
Object = dict[str, Any]
# What other servers' items say that no chat completion can be told.
_LEFT_OUT = {"reasoning", "file_search_call", "web_search_call", "code_interpreter_call", "computer_call"}


class ConversationIn(msgspec.Struct):
    id: str


class AskedIn(msgspec.Struct, kw_only=True):
    """All that is wanted, but for the model. Fields that are not here are passed over."""

    input: Annotated[str | list[Object] | None, Meta(examples=["Tell me a joke."])] = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationIn | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    include: list[str] | None = None
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    parallel_tool_calls: bool | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    text: Object | None = None
    reasoning: Object | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None


class ResponseIn(AskedIn, kw_only=True):
    model: Name


class CountIn(AskedIn, kw_only=True):
    model: Name | None = None


class FunctionTool(msgspec.Struct, kw_only=True):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class RankingOptions(msgspec.Struct, omit_defaults=True):
    """Rankers go by many names; there is one here, and it is used whatever is named."""

    ranker: str | None = None
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


class FileSearchTool(msgspec.Struct, kw_only=True):
    type: Literal["file_search"]
    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=16)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None
    filters: FilterIn | None = None


class MessageIn(msgspec.Struct, kw_only=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Object]


class FileIn(msgspec.Struct, kw_only=True):
    """A stored file, or one that is sent along: in base64, bare or as a data: URL."""

    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class CallIn(msgspec.Struct, kw_only=True):
    call_id: Name
    name: Name
    arguments: str


class ResultIn(msgspec.Struct, kw_only=True):
    call_id: Name
    output: str | list[Object]


class ReferenceIn(msgspec.Struct, kw_only=True):
    id: str


class CompactionIn(msgspec.Struct, kw_only=True):
    encrypted_content: str


def wanted_response(body: ResponseIn | CountIn, usual_model: str = "") -> WantedResponse:
    """Of `usual_model`, where none is named. Raises `InvalidBody`, `InvalidInput`, `InvalidFilter`,
    `PreviousResponseNotFound`, `ConversationNotFound`, `ItemNotFound`, `KnowledgeBaseNotFound` or
    `StoredFileNotFound`."""
    tools = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or [])]
    request = ResponseRequest(
        model=body.model or usual_model,
        instructions=body.instructions,
        previous=_previous(body.previous_response_id),
        background=bool(body.background),
        options=_options(body, [tool for tool in tools if isinstance(tool, FunctionTool)]),
        shown=_shown(body, tools),
    )
    return WantedResponse(
        request=request,
        items=items_in(body.input or []),
        conversation=conversation_in(body.conversation),
        stored=body.store is not False,
        search=_search([tool for tool in tools if isinstance(tool, FileSearchTool)], body.tool_choice),
    )


def allowed(access: Access, wanted: WantedResponse) -> WantedResponse:
    """What is wanted, if that key may read the files it asks about. Raises `ScopeMissing`."""
    if wanted.reads_files:
        access.check(Scope.FILES, changes=False)
    return wanted


def wants_results(body: ResponseIn) -> bool:
    """Whether what a search has found is to be told."""
    return RESULTS in (body.include or [])


def conversation_in(named: str | ConversationIn | None) -> ConversationId | None:
    """Raises `ConversationNotFound`."""
    if named is None:
        return None
    number = number_in(CONVERSATION, named if isinstance(named, str) else named.id)
    if number is None:
        raise ConversationNotFound
    return ConversationId(number)


def _previous(named: str | None) -> AnswerId | None:
    if named is None:
        return None
    number = number_in(RESPONSE, named)
    if number is None:
        raise PreviousResponseNotFound
    return AnswerId(number)


# Input ---------------------------------------------------------------------------------------------------------------


def items_in(given: str | Sequence[Object], where: str = "input") -> list[Given]:
    """Raises `InvalidBody`, `InvalidInput`, `ItemNotFound` or `StoredFileNotFound`."""
    if isinstance(given, str):
        return [Said.plain(Speaker.USER, given)]
    return [item for place, one in enumerate(given) for item in _item(one, f"{where}[{place}]")]


def _item(given: Object, where: str) -> Iterator[Given]:
    match given.get("type") or ("message" if "role" in given or "id" not in given else "item_reference"):
        case "message":
            message = _as(MessageIn, given, where)
            yield Said(speaker=Speaker(message.role), parts=tuple(_parts(message.content, f"{where}.content")))
        case "function_call":
            call = _as(CallIn, given, where)
            yield FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
        case "function_call_output":
            result = _as(ResultIn, given, where)
            yield _result(result.call_id, tuple(_parts(result.output, f"{where}.output")))
        case "compaction":
            yield Summary(_summary(_as(CompactionIn, given, where), where))
        case "item_reference":
            yield from _reference(_as(ReferenceIn, given, where).id)
        case kind if kind in _LEFT_OUT:
            pass
        case kind:
            raise InvalidInput(f"Items of the type {kind!r} are not supported: {where}")


def _reference(name: str) -> Iterator[Reference]:
    """A search is left out, as it is when it comes whole. Raises `ItemNotFound`."""
    if number_in(FILE_SEARCH_CALL, name) is None:
        yield reference_in(name)


def _result(call_id: str, parts: tuple[Content, ...]) -> FunctionResult:
    text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    has_files = any(isinstance(part, FilePart) for part in parts)
    return FunctionResult(call_id=call_id, output=text, parts=parts if has_files else ())


def _parts(content: str | Sequence[Object], where: str) -> Iterator[Content]:
    if isinstance(content, str):
        yield TextPart(content)
        return
    for place, part in enumerate(content):
        yield _part(part, f"{where}[{place}]")


def _part(part: Object, where: str) -> Content:
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return TextPart(text)
        case {"type": "refusal", "refusal": str(text)}:
            return TextPart(text)
        case {"type": "input_image", "image_url": str(url)}:
            detail = part.get("detail")
            return ImagePart(url, detail if isinstance(detail, str) else None)
        case {"type": "input_file"}:
            return _file(_as(FileIn, part, where), where)
        case _:
            raise InvalidInput(f"This part of a message is not supported: {where}")


def _file(given: FileIn, where: str) -> FilePart:
    """Its text is yet to be read. Raises `InvalidBody`, `StoredFileNotFound`."""
    if given.file_url is not None:  # whoever fetches what a body names can be sent anywhere in the server's network
        raise InvalidBody(
            "Files are not fetched from addresses: upload it and give its file_id, or send it as file_data",
            param=f"{where}.file_url",
        )
    if (given.file_data is None) is (given.file_id is None):
        raise InvalidBody("A file is given either by its file_id or as file_data", param=where)
    if given.file_id is not None:
        return FilePart(name=given.filename or "", file=file_in(given.file_id))
    return FilePart(name=given.filename or UNNAMED_FILE, url=given.file_data)


def _summary(given: CompactionIn, where: str) -> str:
    try:
        return base64.b64decode(given.encrypted_content, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"This is no compaction of ours: {where}") from error


def _as(kind: type[T], given: Object, where: str) -> T:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidBody(f"The request body is not valid: {error}", param=where) from error


# Tools ---------------------------------------------------------------------------------------------------------------


def _tool(given: Object, where: str) -> FunctionTool | FileSearchTool:
    match given.get("type"):
        case "function":
            return _as(FunctionTool, given, where)
        case "file_search":
            return _as(FileSearchTool, given, where)
        case kind:
            raise InvalidInput(f"Tools of the type {kind!r} are not supported: {where}")


def _search(tools: Sequence[FileSearchTool], choice: object) -> DocumentSearch | None:
    if not tools or choice == "none":
        return None
    if any(tool.filters != tools[0].filters for tool in tools):
        raise InvalidInput("Several file_search tools must have the same filters: there is one search for all of them")
    limits = [tool.max_num_results or USUALLY_FOUND for tool in tools]
    ranked = [tool.ranking_options.score_threshold for tool in tools if tool.ranking_options]
    shelves = [_knowledge_base(name) for tool in tools for name in tool.vector_store_ids]
    return DocumentSearch(
        knowledge_bases=list(dict.fromkeys(shelves)),
        limit=max(limits),
        where=condition_of(tools[0].filters) if tools[0].filters else None,
        threshold=max((threshold for threshold in ranked if threshold is not None), default=None),
    )


def _knowledge_base(name: str) -> KnowledgeBaseId:
    uuid = uuid_in(VECTOR_STORE, name)
    if uuid is None:
        raise KnowledgeBaseNotFound
    return KnowledgeBaseId(uuid)


# What the model's server is told -------------------------------------------------------------------------------------


def _options(body: AskedIn, functions: Sequence[FunctionTool]) -> Object:
    """By the names that chat completions have for it; only what the client has said."""
    same = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user")
    options = {name: getattr(body, name) for name in same}
    reasoning, text = body.reasoning or {}, body.text or {}
    if body.max_output_tokens is not None:
        # Models that think aloud know only the newer name, and most servers only the older.
        options["max_completion_tokens" if reasoning else "max_tokens"] = body.max_output_tokens
    options["reasoning_effort"] = reasoning.get("effort")
    options["verbosity"] = text.get("verbosity")
    options["response_format"] = _response_format(text.get("format"))
    if body.top_logprobs:
        options |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    if functions:
        options |= _functions(functions, body)
    return {name: value for name, value in options.items() if value is not None}


def _response_format(wanted: object) -> Object | None:
    match wanted:
        case {"type": "json_schema", "name": str(name), "schema": dict(schema), **others}:
            more = {key: others[key] for key in ("description", "strict") if others.get(key) is not None}
            return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **more}}
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case None | {"type": "text"}:
            return None
        case _:
            raise InvalidInput("text.format must be text, json_object, or json_schema with a name and a schema")


def _functions(functions: Sequence[FunctionTool], body: AskedIn) -> Object:
    allowed, choice = _choice(body.tool_choice)
    tools = [_function(function) for function in functions if allowed is None or function.name in allowed]
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": body.parallel_tool_calls}


def _function(function: FunctionTool) -> Object:
    said = msgspec.structs.asdict(function)
    del said["type"]
    return {"type": "function", "function": {key: value for key, value in said.items() if value is not None}}


def _choice(choice: str | Object | None) -> tuple[set[str] | None, object]:
    """Which functions may be called (None: all), and how free the model is in that."""
    match choice:
        case {"type": "function", "name": str(name)}:
            return None, {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "tools": list(tools), **others}:
            names = {tool.get("name") for tool in tools if isinstance(tool, dict)}
            return {name for name in names if isinstance(name, str)}, others.get("mode", "auto")
        case {"type": "file_search"}:
            return None, "auto"
        case None | "auto" | "none" | "required":
            return None, choice
        case _:
            raise InvalidInput("This tool_choice is not supported")


# What the client is shown again --------------------------------------------------------------------------------------


def _shown(body: AskedIn, tools: Sequence[FunctionTool | FileSearchTool]) -> Object:
    shown = {name: getattr(body, name) for name in DEFAULTS if getattr(body, name) is not None}
    if tools:
        shown["tools"] = [_shown_tool(tool) for tool in tools]
    if body.text is not None:
        shown["text"] = {**body.text, "format": _shown_format(body.text.get("format"))}
    if body.reasoning is not None:
        shown["reasoning"] = {"effort": None, "summary": None, **body.reasoning}
    if body.store is False:
        shown["store"] = False
    return shown


def _shown_tool(tool: FunctionTool | FileSearchTool) -> Object:
    said = msgspec.to_builtins(tool)
    return {key: value for key, value in said.items() if value is not None or isinstance(tool, FunctionTool)}


def _shown_format(wanted: object) -> Mapping[str, Any]:
    if not isinstance(wanted, dict):
        return {"type": "text"}
    return {"description": None, "strict": None, **wanted} if wanted.get("type") == "json_schema" else wanted
