"""How the log of an answer looks in its Redis stream.

Each entry's id is the number of the last event in it, and then its kind. So Redis finds the place of a reader who
comes back without looking at what is before it; the same events written twice, or those of a writer whose answer was
taken over (and goes on at a higher number), are refused by Redis itself, which takes rising ids only.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self, TypeAlias

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import AnswerEvent
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.codec.events import decode_events
from llm_backend.infrastructure.redis.keys import redis_key
from llm_backend.infrastructure.redis.servers import Command

logger = logging.getLogger(__name__)

EntryId: TypeAlias = tuple[int, int]

RUNNING_SECONDS = 60 * 60  # how long a stream lives on that nobody writes to any more: twice the longest answer
ENDED_SECONDS = 10 * 60  # after its end; who comes later reads the journal
MOST_ENTRIES = 10_000  # 200 s of an answer that never pauses; what was before is in the journal


class Kind(IntEnum):
    EVENTS = 0
    OPENED = 1
    CLOSED = 2


def stream_key(answer: AnswerId) -> bytes:
    return redis_key("answer", str(answer)).encode()


def id_bytes(entry: EntryId) -> bytes:
    return b"%d-%d" % entry


# Writing -------------------------------------------------------------------------------------------------------------

# A script is atomic, so that there is no moment in which a stream has no time to live, whatever is cut off then. An
# entry that comes too late for the stream does not hold up those after it: it may be there already.
BOUNDS = b"""
local reply
for i = 4, #ARGV, 2 do
  reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[i], 'start', ARGV[3], 'events', ARGV[i + 1])
  if type(reply) == 'string' then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
  elseif not string.find(reply.err, 'equal or smaller', 1, true) then
    return reply
  end
end
return reply
"""
# Another process may have gone on in the stream.
DISCARD = b"""
local entries = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if entries.err then return entries end
if entries[1] and entries[1][1] == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class EntryWriter:
    """The commands that write one log. `start`: the number before its first event's."""

    key: bytes
    start: int

    def events(self, last: int, payload: bytes) -> Command:
        """To a stream that is there. The reply is None when it is not: nothing is made that would live for ever."""
        name = id_bytes((last, Kind.EVENTS))
        how = b"NOMKSTREAM", b"MAXLEN", b"~", MOST_ENTRIES
        return b"XADD", self.key, *how, name, b"start", self.start, b"events", payload

    def bounds(self, last: int, payload: bytes | None, seconds: int, *, opens: bool, closes: bool) -> Command:
        """The beginning or the end of the log, with the events that come with it, and the time that its stream lives
        on. The reply is that to the last entry."""
        entries: list[bytes] = []
        if opens:
            entries += id_bytes((self.start, Kind.OPENED)), b""
        if payload is not None:
            entries += id_bytes((last, Kind.EVENTS)), payload
        if closes:
            entries += id_bytes((last, Kind.CLOSED)), b""
        return b"EVAL", BOUNDS, 1, self.key, seconds, MOST_ENTRIES, self.start, *entries

    def discarded(self) -> Command:
        """Away with a stream that holds nothing but the beginning of this log."""
        return b"EVAL", DISCARD, 1, self.key, id_bytes((self.start, Kind.OPENED))

    def lives(self, seconds: int) -> Command:
        return b"EXPIRE", self.key, seconds


# Reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """`start` is that of the log it belongs to: one stream holds several if an answer was taken over."""

    id: EntryId
    start: int
    events: Sequence[AnswerEvent]

    @property
    def last(self) -> int:
        return self.id[0]

    @property
    def first(self) -> int:
        return self.last - len(self.events) + 1

    @classmethod
    def read(cls, entry_id: EntryId, fields: Sequence[bytes]) -> Self:
        """Raises `ValueError` when it is none of ours."""
        if len(fields) != 4 or fields[::2] != [b"start", b"events"]:
            raise ValueError("other fields")
        last, kind = entry_id
        start = int(fields[1])
        events = decode_events(fields[3]) if Kind(kind) is Kind.EVENTS else []
        if not 0 <= start <= last - len(events) or bool(events) is not (kind == Kind.EVENTS):
            raise ValueError("impossible numbers")
        return cls(entry_id, start, events)


RawEntry: TypeAlias = tuple[EntryId, Sequence[bytes]]


def raw_entries(reply: object) -> list[RawEntry]:
    """What XRANGE, XREVRANGE and, for each stream, XREAD send: pairs of an id and a flat list of fields."""
    return [(_entry_id(name), fields) for name, fields in reply] if isinstance(reply, list) else []


def _entry_id(name: bytes) -> EntryId:
    number, kind = name.split(b"-")
    return int(number), int(kind)


@dataclass(slots=True)
class Place:
    """How far somebody has read a stream, from number `seen` on."""

    seen: int
    garbage: "Garbage"
    at: EntryId = field(init=False)
    jumps: bool = (
        False  # where a log was opened further on, what came before that is in the journal, and is passed over
    )
    closed: bool = False  # and nothing came after that
    torn: bool = False  # what comes next is not in this stream

    def __post_init__(self) -> None:
        self.at = (self.seen, Kind.EVENTS)

    def read(self, entries: Iterable[RawEntry]) -> list[NumberedEvent]:
        """The events that follow on what was seen, without gaps."""
        batch: list[NumberedEvent] = []
        for entry_id, fields in entries:
            self.at = entry_id
            if (entry := readable(entry_id, fields, self.garbage)) is None:
                continue
            if self.jumps and entry_id[1] == Kind.OPENED:
                self.seen = max(self.seen, entry.start)
            if entry.first > self.seen + 1:
                self.torn = True
                break
            self.closed = entry_id[1] == Kind.CLOSED
            batch += list(enumerate(entry.events, entry.first))[max(0, self.seen - entry.first + 1) :]
            self.seen = max(self.seen, entry.last)
        return batch


def readable(entry_id: EntryId, fields: Sequence[bytes], garbage: "Garbage") -> Entry | None:
    """None for what is none of ours."""
    try:
        return Entry.read(entry_id, fields)
    except (ValueError, TypeError, RecursionError) as error:
        garbage.note(error)
        return None


@dataclass(slots=True)
class Garbage:
    """Logged once: whoever fills a stream with it must not fill the log as well."""

    noted: bool = False

    def note(self, error: Exception) -> None:
        if not self.noted:
            logger.warning("an entry in Redis is none of ours and is passed over, as will be others: %r", error)
        self.noted = True
