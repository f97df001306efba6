"""Ids of items: what they are, and where."""

import re
from collections.abc import Mapping

from llm_backend.domain.items import FunctionCall, FunctionResult, Item, Said, Summary
from llm_backend.interface.http.openai.ids import FUNCTION_CALL, MESSAGE
from llm_backend.interface.http.requests import parsed_id

FUNCTION_RESULT = "fco_"
COMPACTION = "cmp_"

_ITEM_ID = re.compile(r"(?:msg|fc|fco|cmp)_(\d+)_(\d+)_(\d+)")
_PREFIXES: Mapping[type[Item], str] = {
    Said: MESSAGE,
    FunctionCall: FUNCTION_CALL,
    FunctionResult: FUNCTION_RESULT,
    Summary: COMPACTION,
}


def placed_id(item: Item, conversation: int, number: int, index: int) -> str:
    """Where an item is, is what it is called."""
    return f"{_PREFIXES[type(item)]}{conversation}_{number}_{index}"


def place_in(text: str) -> tuple[int, int, int] | None:
    """The conversation, message and index that an item's id names; None when it is none."""
    found = _ITEM_ID.fullmatch(text)
    if not found or not text.isascii():
        return None
    conversation, number, index = found.groups()
    if parsed_id(conversation) is None or len(number) > 9 or len(index) > 9:
        return None
    return int(conversation), int(number), int(index)
