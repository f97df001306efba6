"""A language model's server that does what clients ask of one: it calls functions, fills schemas, tells what it saw.

It understands nothing: numbers, quotations and places in a question become arguments. `python -m
tests.clients.plausible` serves it on a free port and prints its address.
"""

import asyncio
import base64
import json
import re
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tests.upstream import Reply, Upstream, behaviour

CREATED = 1_700_000_000
MODELS = ("plausible", "plausible-mini")
DIMENSIONS = 8
NO_CALL: tuple[()] = ()

Json = dict[str, Any]


@behaviour
async def plausible(reply: Reply) -> None:
    """The model itself, by the path of the request."""
    path, asked = reply.request.path, reply.request.body
    if path.endswith("/models"):
        await _whole(reply, {"object": "list", "data": [_model(name) for name in MODELS]})
    elif path.endswith("/embeddings"):
        await _whole(reply, _embeddings(asked))
    elif asked.get("stream"):
        await _streamed(reply, Question(asked).answers())
    else:
        await _whole(reply, _completion(Question(asked)))


async def _whole(reply: Reply, body: Json) -> None:
    await reply.whole(200, json.dumps(body, ensure_ascii=False).encode())


async def _streamed(reply: Reply, chunks: Iterator[Json]) -> None:
    await reply.head()
    for chunk in chunks:
        await reply.part(reply.event(json.dumps(chunk, ensure_ascii=False)))
    await reply.part(reply.event("[DONE]"))
    await reply.end()


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "plausible"}


def _embeddings(asked: Json) -> Json:
    given = asked["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    size = asked.get("dimensions") or DIMENSIONS
    vectors = [[float(number + len(text)) for number in range(size)] for text in inputs]
    as_base64 = asked.get("encoding_format") == "base64"
    coded = [base64.b64encode(array("f", vector)).decode() if as_base64 else vector for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(coded)]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "model": asked["model"], "data": data, "usage": usage}


# Answers


@dataclass(frozen=True, slots=True)
class Question:
    """A request for a chat completion, and what becomes of it."""

    asked: Json

    @property
    def messages(self) -> list[Json]:
        return list(self.asked["messages"])

    @property
    def text(self) -> str:
        """What a user said last."""
        return next((_text_of(message) for message in reversed(self.messages) if message["role"] == "user"), "")

    def call(self) -> Json | None:
        """The function that is to be called now, if any."""
        functions = [tool["function"] for tool in self.asked.get("tools") or NO_CALL if tool["type"] == "function"]
        choice = self.asked.get("tool_choice") or "auto"
        if isinstance(choice, dict):
            functions = [function for function in functions if function["name"] == choice["function"]["name"]]
        if not functions or choice == "none":
            return None
        best = max(functions, key=self._fitness)
        if choice == "auto" and (self._fitness(best) <= 0 or self.messages[-1]["role"] == "tool"):
            return None
        arguments = filled(best.get("parameters") or {}, self.text)
        function = {"name": best["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
        return {"id": f"call_{len(self.messages)}", "type": "function", "function": function}

    def content(self) -> str:
        wanted = self.asked.get("response_format") or {"type": "text"}
        if wanted["type"] == "json_schema":
            return json.dumps(filled(wanted["json_schema"]["schema"], self.text), ensure_ascii=False)
        if wanted["type"] == "json_object":
            return json.dumps({name: f"a {name}" for name in re.findall(r"'(\w+)'", self.text)})
        return self._until_stop(self._told())

    def answers(self) -> Iterator[Json]:
        """The chunks of a stream."""
        call = self.call()
        deltas: list[Json] = [{"role": "assistant", "content": None if call else ""}]
        if call:
            arguments = call["function"]["arguments"]
            head = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
            rest = [{"index": 0, "function": {"arguments": piece}} for piece in re.findall(r".{1,5}", arguments)]
            deltas += [{"tool_calls": [piece]} for piece in chain([head], rest)]
        else:
            deltas += [{"content": piece} for piece in re.findall(r"\s*\S+\s*", self.content())]
        yield from (self._chunk([_choice("delta", delta, None)]) for delta in deltas)
        yield self._chunk([_choice("delta", {}, "tool_calls" if call else "stop")])
        if (self.asked.get("stream_options") or {}).get("include_usage"):
            yield {**self._chunk([]), "usage": self.usage()}

    def usage(self) -> Json:
        prompt = 1 + sum(len(_text_of(message).split()) for message in self.messages)
        completion = 5
        details = {"completion_tokens_details": {"reasoning_tokens": 0}, "prompt_tokens_details": {"cached_tokens": 0}}
        total = prompt + completion
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **details}

    def _fitness(self, function: Json) -> int:
        """Words that the question shares with the function's name; less for one that was called already."""
        called = {call["function"]["name"] for said in self.messages for call in said.get("tool_calls") or NO_CALL}
        words = {word.lower() for word in re.findall(r"[^\W\d_]+", self.text)}
        shared = words & set(re.findall(r"[^\W\d_]{3,}", function["name"].lower().replace("_", " ")))
        return len(shared) - 100 * (function["name"] in called)

    def _told(self) -> str:
        results = [_text_of(message) for message in self.messages if message["role"] == "tool"]
        if results:
            return f"The tool says: {results[-1]}"
        seen = [kind for message in self.messages for kind in _attached(message)]
        return f"I see {', '.join(seen)}." if seen else f"You said: {self.text}"

    def _until_stop(self, text: str) -> str:
        given = self.asked.get("stop") or []
        stops = [given] if isinstance(given, str) else given
        return text[: min([len(text), *[text.index(stop) for stop in stops if stop in text]])] or "."

    def _chunk(self, choices: list[Json]) -> Json:
        return _head("chat.completion.chunk", self.asked, choices)


def _completion(question: Question) -> Json:
    call = question.call()
    message: Json = {"role": "assistant", "content": None if call else question.content()}
    if call:
        message["tool_calls"] = [call]
    choices = [_choice("message", message, "tool_calls" if call else "stop")]
    return {**_head("chat.completion", question.asked, choices), "usage": question.usage()}


def _head(kind: str, asked: Json, choices: list[Json]) -> Json:
    return {"id": "chatcmpl-1", "object": kind, "created": CREATED, "model": asked["model"], "choices": choices}


def _choice(field: str, value: Json, finish: str | None) -> Json:
    return {"index": 0, field: value, "logprobs": None, "finish_reason": finish}


def _parts(message: Json) -> list[Json]:
    content = message.get("content") or ""
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _text_of(message: Json) -> str:
    return " ".join(part["text"] for part in _parts(message) if part["type"] == "text")


def _attached(message: Json) -> list[str]:
    return [part["type"] for part in _parts(message) if part["type"] != "text"]


# Schemas


def filled(schema: Json, text: str) -> Any:
    """A value that fits the schema, made of what the text says."""
    numbers = map(int, re.findall(r"-?\d+", text))
    quotations = iter(re.findall(r"['\"]([^'\"]+)['\"]", text))
    place = re.search(r"\bin ([A-Z][^?.!]*)", text)
    return _filled(schema, schema, Findings(numbers, quotations, place[1] if place else text or "something"))


@dataclass(frozen=True, slots=True)
class Findings:
    numbers: Iterator[int]
    quotations: Iterator[str]
    text: str


def _filled(schema: Json, root: Json, found: Findings) -> Any:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return _filled(schema["anyOf"][0], root, found)
    if "const" in schema or "enum" in schema:
        return schema.get("const") or schema["enum"][0]
    match schema.get("type", "object"):
        case "object":
            return {name: _filled(each, root, found) for name, each in (schema.get("properties") or {}).items()}
        case "array":
            return [_filled(schema.get("items") or {"type": "string"}, root, found)]
        case "integer" | "number":
            return next(found.numbers, 1)
        case "boolean":
            return True
        case "string":
            return next(found.quotations, found.text)
        case _:
            return None


async def _serve() -> None:
    async with Upstream("plausible") as upstream:
        sys.stdout.write(f"{upstream.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve())
