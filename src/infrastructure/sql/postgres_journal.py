"""The answer journal on PostgreSQL, where what costs is to go there and back.

SQLite, to which nobody has to go, gets each step as a statement of its own. Here the steps of a beginning, and those of
an end, are one statement, whose parts take from the first of them only if that has changed something.
"""

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Insert,
    LargeBinary,
    Select,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)

from llm_backend.application.ports.answer_journal import Turn
from llm_backend.domain.ids import WriterId
from llm_backend.infrastructure.sql.journal import (
    END,
    EVENT_PARAMETERS,
    HOLD_CONVERSATION,
    NUMBER,
    TAKE_NUMBER,
    SqlAnswerJournal,
    replacing_events,
)
from llm_backend.infrastructure.sql.mapping import MESSAGE_COLUMNS, Values, answer_values, message_values
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import answers, conversations, messages
from llm_backend.infrastructure.sql.statements import Query

_MESSAGE = tuple(column.name for column in MESSAGE_COLUMNS)
_OPENED = (
    *("id", "conversation_id", "number", "state", "started_at", "takeovers", "stop_wanted", "grounding", "key_id"),
    "writer",
)


def _inserting(table: Table, names: tuple[str, ...], prefix: str, source: FromClause, *, given: bool) -> Insert:
    """One row of parameters `prefix` + name, for each of `source`, whose conversation goes before if not `given`."""
    parameters: list[ColumnElement[object]] = [bindparam(prefix + name, type_=table.c[name].type) for name in names]
    if given:
        return insert(table).from_select(names, select(*parameters).select_from(source))
    return insert(table).from_select(["conversation_id", *names], select(source.c.conversation_id, *parameters))


def _beginning() -> Select[int]:
    taken = TAKE_NUMBER.returning(conversations.c.id.label("conversation_id")).cte("taken")
    asked = _inserting(messages, _MESSAGE, "new_", taken, given=False).cte("asked")
    opened = _inserting(answers, _OPENED, "opened_", taken, given=True).cte("opened")
    return select(func.count()).select_from(taken).add_cte(asked, opened)


def _end() -> Select[int]:
    """The conversation is locked before the answer, as the one is needed to find the other."""
    held = HOLD_CONVERSATION.cte("held")
    ended = (
        END.where(answers.c.conversation_id == held.c.id)
        .returning(answers.c.id.label("answer_id"), answers.c.conversation_id)
        .cte("ended")
    )
    added = replacing_events(
        select(ended.c.answer_id, *EVENT_PARAMETERS).where(bindparam("events", type_=LargeBinary).is_not(None))
    ).cte("added")
    replied = _inserting(messages, _MESSAGE, "new_", ended, given=False).cte("replied")
    moved = (
        update(conversations)
        .where(conversations.c.id == ended.c.conversation_id)
        .values(last_number=NUMBER)
        .cte("moved")
    )
    return select(func.count()).select_from(ended).add_cte(added, replied, moved)


_BEGINNING = _beginning()
_END = _end()
_WITHOUT_EVENTS: Values = {"from": None, "to": None, "events": None}


class PostgresAnswerJournal(SqlAnswerJournal):
    """`AnswerJournal`."""

    def __init__(self, reader: Reader, writer: Writer, me: WriterId) -> None:
        super().__init__(reader, writer, me)
        self._whole_beginning = writer.prepare(_BEGINNING)
        self._whole_end = writer.prepare(_END)

    def _opening(self, turn: Turn) -> Steps[bool]:
        answer, question = turn.answer, turn.question
        owned = {"of": answer.owner, "conversation": answer.conversation, "question": question.number}
        asked = {f"new_{name}": value for name, value in message_values(question).items()}
        opened = {f"opened_{name}": value for name, value in answer_values(turn).items()}
        taken = yield Query(self._whole_beginning, {**owned, **asked, **opened, "opened_writer": self._me})
        return bool(taken.rows[0][0])

    def _closing(self, values: Values, events: Values) -> Steps[bool]:
        ended = yield Query(self._whole_end, {**values, **(events or _WITHOUT_EVENTS)})
        return bool(ended.rows[0][0])
