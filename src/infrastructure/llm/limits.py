"""How long and how much is too long and too much."""

from dataclasses import dataclass
from datetime import timedelta

from llm_backend.domain.answers import LONGEST_ANSWER
from llm_backend.infrastructure.llm.sse import LONGEST_LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """What an answer may take. Every misbehaviour of a server ends at one of these.

    `first_token` runs from the sending of the request to the first event of the reply (some models think aloud before
    they answer, which counts), `idle` between two reads, `total` over everything, repetitions included.
    `longest_answer` counts characters of text, `longest_line` bytes of an event.
    """

    connect: timedelta = timedelta(seconds=10)
    first_token: timedelta = timedelta(seconds=60)
    idle: timedelta = timedelta(seconds=60)
    total: timedelta = timedelta(minutes=30)
    longest_answer: int = LONGEST_ANSWER
    longest_line: int = LONGEST_LINE
