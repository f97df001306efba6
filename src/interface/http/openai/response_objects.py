"""Responses and items on the wire."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from llm_backend.application.recalling_items import PlacedItem, placed
from llm_backend.domain.answers import STOPPED
from llm_backend.domain.citations import Citation, Source, cited
from llm_backend.domain.conversations import MessageState, TokenUsage
from llm_backend.domain.errors import UpstreamRateLimited
from llm_backend.domain.items import (
    Content,
    FilePart,
    FunctionCall,
    FunctionResult,
    ImagePart,
    Item,
    Removed,
    Said,
    Speaker,
    Summary,
    TextPart,
)
from llm_backend.domain.markers import Annotation, Unmarked, unmarked
from llm_backend.domain.responses import Response
from llm_backend.interface.http.errors import text_of_code
from llm_backend.interface.http.openai.ids import (
    CONVERSATION,
    FILE,
    FILE_SEARCH_CALL,
    RESPONSE,
    numbered_id,
    uuid_id,
)
from llm_backend.interface.http.openai.item_ids import placed_id

CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}

# What is shown when the client has not said otherwise: many clients take none of these for null.
DEFAULTS: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "parallel_tool_calls": True,
    "tools": [],
    "tool_choice": "auto",
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "service_tier": "default",
    "metadata": {},
    "reasoning": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "user": None,
}

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class SourceOut(msgspec.Struct):
    """Where in the document a citation points; `verified`: the text was compared with what is stored."""

    start_char_index: int
    end_char_index: int
    page: int | None
    cited_text: str
    verified: bool


class AnnotationOut(msgspec.Struct):
    """What stands from `start_index` to `end_index` of the text rests on `source`."""

    file_id: str
    filename: str
    index: int
    start_index: int
    end_index: int
    source: SourceOut
    type: Literal["file_citation"] = "file_citation"


class OutputTextOut(msgspec.Struct, tag="output_text"):
    text: str
    annotations: list[AnnotationOut]
    logprobs: list[Any] = []


class InputTextOut(msgspec.Struct, tag="input_text"):
    text: str


class InputImageOut(msgspec.Struct, tag="input_image"):
    image_url: str
    detail: str
    file_id: str | None = None


class InputFileOut(msgspec.Struct, tag="input_file"):
    """As it was sent: by its id, or with its content."""

    filename: str
    file_id: str | None
    file_data: str | None


InputOut: TypeAlias = InputTextOut | InputImageOut | InputFileOut
ContentOut: TypeAlias = OutputTextOut | InputOut


class MessageItemOut(msgspec.Struct, tag="message"):
    id: str
    role: str
    status: Status
    content: list[ContentOut]


class FunctionCallOut(msgspec.Struct, tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


class FunctionResultOut(msgspec.Struct, tag="function_call_output"):
    id: str
    call_id: str
    output: str | list[InputOut]
    status: Status


class SearchResultOut(msgspec.Struct):
    file_id: str
    filename: str
    text: str
    attributes: dict[str, Any] = {}
    score: float | None = None


class FileSearchOut(msgspec.Struct, tag="file_search_call"):
    id: str
    status: Literal["in_progress", "searching", "completed"]
    queries: list[str]
    results: list[SearchResultOut] | None = None


class CompactionOut(msgspec.Struct, tag="compaction"):
    id: str
    encrypted_content: str


ItemOut: TypeAlias = MessageItemOut | FunctionCallOut | FunctionResultOut | FileSearchOut | CompactionOut


class InputDetailsOut(msgspec.Struct):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetailsOut(msgspec.Struct):
    reasoning_tokens: int = 0


class UsageOut(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetailsOut
    output_tokens_details: OutputDetailsOut


class FailureOut(msgspec.Struct):
    code: str
    message: str


class IncompleteOut(msgspec.Struct):
    reason: str


class ConversationRef(msgspec.Struct):
    id: str


class ResponseOut(msgspec.Struct, kw_only=True):
    """A response: what it was asked for, how far it is, and what came of it."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: FailureOut | None
    incomplete_details: IncompleteOut | None
    instructions: str | None
    model: str
    output: list[ItemOut]
    previous_response_id: str | None
    conversation: ConversationRef | None
    store: bool
    usage: UsageOut | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    parallel_tool_calls: bool
    tools: list[dict[str, Any]]
    tool_choice: Any
    text: dict[str, Any]
    truncation: str
    service_tier: str
    metadata: dict[str, str]
    reasoning: dict[str, Any] | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    user: str | None


# Items ---------------------------------------------------------------------------------------------------------------


def placed_out(one: PlacedItem, conversation: int, sources: Sequence[Source] | None = None) -> ItemOut:
    """With citations of `sources`; where nobody has them any more, with those that are stored with the message."""
    message = one.message
    name = placed_id(one.item, conversation, message.number, one.index)
    status: Status = "incomplete" if message.ends_early else "completed"
    if sources is None and not one.index:
        return item_out(one.item, name, status, lambda text: annotated(text, message.citations))
    return item_out(one.item, name, status, lambda text: annotated(text, cited(text, sources or ())))


def item_out(item: Item, name: str, status: Status, texted: Callable[[str], OutputTextOut]) -> ItemOut:
    match item:
        case Said(speaker=Speaker.ASSISTANT):
            return answer_out(name, status, [texted(part.text) for part in _texts(item.parts)])
        case Said():
            return MessageItemOut(name, item.speaker.value, status, list(map(_part_out, item.parts)))
        case FunctionCall():
            return FunctionCallOut(name, item.call_id, item.name, item.arguments, status)
        case FunctionResult():
            return FunctionResultOut(name, item.call_id, list(map(_part_out, item.parts)) or item.output, status)
        case Summary():
            return CompactionOut(name, sealed_out(item))
        case Removed():
            raise ValueError("what was removed cannot be shown")


def sealed_out(summary: Summary) -> str:
    """Not a secret, as it is the client's own, but nothing to be read or changed either."""
    return base64.b64encode(summary.text.encode()).decode()


def answer_out(name: str, status: Status, texts: Sequence[OutputTextOut]) -> MessageItemOut:
    return MessageItemOut(name, "assistant", status, list(texts))


def annotated(text: str, citations: Sequence[Citation]) -> OutputTextOut:
    """A text as a model wrote it, without its markers."""
    return text_out(unmarked(text, {citation.number for citation in citations}), citations)


def text_out(text: Unmarked, citations: Sequence[Citation]) -> OutputTextOut:
    return OutputTextOut(text.text, [annotation_out(one) for one in text.annotations(citations)])


def annotation_out(annotation: Annotation) -> AnnotationOut:
    citation = annotation.citation
    return AnnotationOut(
        file_id=uuid_id(FILE, citation.file or citation.document),
        filename=citation.document_name,
        index=annotation.end,
        start_index=annotation.start,
        end_index=annotation.end,
        source=SourceOut(
            annotation.claim.start, annotation.claim.end, citation.page, annotation.quote, citation.verified
        ),
    )


def file_search_out(response: Response, *, with_results: bool = False) -> FileSearchOut:
    results = [_result_out(source) for source in response.sources] if with_results else None
    return FileSearchOut(
        numbered_id(FILE_SEARCH_CALL, response.answer.id), "completed", list(response.request.searched), results
    )


def _result_out(source: Source) -> SearchResultOut:
    file = uuid_id(FILE, source.file or source.document)
    return SearchResultOut(file, source.document_name, source.text, dict(source.attributes), source.score)


def _texts(parts: Iterable[Content]) -> Iterator[TextPart]:
    return (part for part in parts if isinstance(part, TextPart))


def _part_out(part: Content) -> InputOut:
    match part:
        case TextPart():
            return InputTextOut(part.text)
        case ImagePart():
            return InputImageOut(part.url, part.detail or "auto")
        case FilePart():
            return InputFileOut(part.name, uuid_id(FILE, part.file) if part.file else None, part.url)


# Responses -----------------------------------------------------------------------------------------------------------


def response_out(response: Response, *, with_results: bool = False) -> ResponseOut:
    """As it is stored now."""
    reply = response.reply
    out = begun_out(response)
    if response.request.searched:
        out.output.append(file_search_out(response, with_results=with_results))
    if reply is None:
        return out
    conversation = response.answer.conversation
    there = placed([reply]) if reply.items or reply.text else ()
    out.output += [placed_out(one, conversation, response.sources) for one in there]
    out.usage = usage_out(reply.usage)
    if reply.state is MessageState.COMPLETE:
        return completed(out, int(reply.created_at.timestamp()), reply.reason)
    return broken_off(out, reply.reason or "")


def queued_out(response: Response) -> ResponseOut:
    """As the first answer to a request in the background."""
    return begun_out(response, queued=True)


def begun_out(response: Response, *, queued: bool = False) -> ResponseOut:
    """Before there is anything of it."""
    request, answer = response.request, response.answer
    previous, conversation = request.previous, answer.conversation
    shown: dict[str, Any] = {"model": request.model, "store": True, **DEFAULTS, **request.shown}
    return ResponseOut(
        id=numbered_id(RESPONSE, answer.id),
        created_at=int(response.started_at.timestamp()),
        completed_at=None,
        status="queued" if queued else "in_progress",
        background=request.background,
        error=None,
        incomplete_details=None,
        instructions=request.instructions,
        output=[],
        previous_response_id=None if previous is None else numbered_id(RESPONSE, previous),
        conversation=ConversationRef(numbered_id(CONVERSATION, conversation)) if response.in_conversation else None,
        usage=None,
        **shown,
    )


def completed(out: ResponseOut, at: int | None, reason: str | None) -> ResponseOut:
    """It has come to its end, or as far as it was allowed to."""
    if reason in CUT:
        out.status, out.incomplete_details = "incomplete", IncompleteOut(CUT[reason])
    else:
        out.status, out.completed_at = "completed", at
    return out


def broken_off(out: ResponseOut, code: str) -> ResponseOut:
    """It was stopped, or failed."""
    if code == STOPPED:
        out.status = "cancelled"
    else:
        shown = "rate_limit_exceeded" if code == UpstreamRateLimited.code else "server_error"
        out.status, out.error = "failed", FailureOut(shown, text_of_code(code))
    return out


def usage_out(usage: TokenUsage | None) -> UsageOut | None:
    if usage is None:
        return None
    total = usage.prompt + usage.completion
    read, written = InputDetailsOut(cached_tokens=usage.cached), OutputDetailsOut(reasoning_tokens=usage.reasoning)
    return UsageOut(usage.prompt, usage.completion, total, read, written)
