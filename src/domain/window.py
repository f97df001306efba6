"""What of a conversation fits into a model's window."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from llm_backend.domain.errors import MessageTooLong

MESSAGE_OVERHEAD = 4  # tokens that chat formats spend on marking one message
ANSWER_SHARE = 4  # one part in this many of the window is kept free for the answer


class Turn(Protocol):
    """What one side says: a message, or a turn of a prompt."""

    @property
    def role(self) -> str: ...

    @property
    def text(self) -> str: ...


TurnT = TypeVar("TurnT", bound=Turn)


def estimated_tokens(text: str) -> int:
    """A cautious guess without any model's vocabulary: one token per CJK character, one per four others.

    CJK characters take three bytes in UTF-8 and ASCII takes one, so half the surplus of bytes counts the former
    without a look at each character.
    """
    wide = (len(text.encode()) - len(text)) // 2
    return wide + (len(text) - wide + 3) // 4


def fitting(messages: Sequence[TurnT], question: TurnT, *, window: int, taken: int = 0) -> list[TurnT]:
    """The newest of `messages` that fit together with `question` and `taken` tokens of instructions, oldest first.

    Never begins with an answer whose question is cut off, and leaves out messages without text: some providers
    refuse them. Raises `MessageTooLong` when not even the question fits.
    """
    room = window - window // ANSWER_SHARE - taken - _cost(question)
    if room < 0:
        raise MessageTooLong
    kept: list[TurnT] = []
    for message in reversed(messages):
        room -= _cost(message)
        if room < 0:
            break
        if message.text:
            kept.append(message)
    while kept and kept[-1].role == "assistant":
        kept.pop()
    return [*reversed(kept), question]


def room_for_sources(question: str, window: int) -> int:
    """How many tokens passages and their instructions may take: half of what question and answer leave free, as the
    conversation wants to be recalled as well. Not above 0 when the question alone is too long."""
    return (window - window // ANSWER_SHARE - estimated_tokens(question) - MESSAGE_OVERHEAD) // 2


def _cost(message: Turn) -> int:
    return estimated_tokens(message.text) + MESSAGE_OVERHEAD
