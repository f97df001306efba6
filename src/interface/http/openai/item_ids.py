"""Ids of items: what they are, and where."""

import re
from collections.abc import Mapping

from llm_backend.domain.errors import ItemNotFound
from llm_backend.domain.ids import ConversationId
from llm_backend.domain.items import FunctionCall, FunctionResult, Item, Reference, Said, Summary
from llm_backend.interface.http.openai.ids import FUNCTION_CALL, MESSAGE
from llm_backend.interface.http.requests import parsed_id

FUNCTION_RESULT = "fco_"
COMPACTION = "cmp_"

_ITEM_ID = re.compile(r"((?:msg|fc|fco|cmp)_)(\d+)_(\d+)_(\d+)")
_PREFIXES: Mapping[type[Item], str] = {
    Said: MESSAGE,
    FunctionCall: FUNCTION_CALL,
    FunctionResult: FUNCTION_RESULT,
    Summary: COMPACTION,
}
_KINDS = {prefix: kind for kind, prefix in _PREFIXES.items()}


def placed_id(item: Item, conversation: int, number: int, index: int) -> str:
    """Where an item is, is what it is called."""
    return f"{_PREFIXES[type(item)]}{conversation}_{number}_{index}"


def reference_in(text: str) -> Reference:
    """What an item's id names. Raises `ItemNotFound` when it is none."""
    found = _ITEM_ID.fullmatch(text)
    if not found or not text.isascii():
        raise ItemNotFound
    prefix, conversation, number, index = found.groups()
    if parsed_id(conversation) is None or len(number) > 9 or len(index) > 9:
        raise ItemNotFound
    return Reference(
        kind=_KINDS[prefix], conversation=ConversationId(int(conversation)), number=int(number), index=int(index)
    )
