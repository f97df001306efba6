"""Usage is written behind the requests: what goes wrong with one record costs the others nothing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_backend.application.usage import RecordUsage
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.domain.ids import UserId
from llm_backend.domain.usage import Price, PriceTable, UsageGroup, UsageKind, UsageRecord, UsageSum
from llm_backend.infrastructure.security.ids import RandomIds
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.testing.builders import a_user
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.contracts.store import given
from llm_backend.testing.faults import Faults

ALICE = UserId(1)
BEYOND = 2**53  # with the price below more than a column holds
DEAR = PriceTable([Price(pattern="*", prompt=2.5, completion=10)])


async def test_a_record_that_no_database_takes_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async with SqlStore.open(tmp_path / "usage.db") as store:
        await given(store, a_user(1))
        record = RecordUsage(log=store.usage, prices=DEAR, now=ManualClock(), ids=CountingIds())
        for prompt in (5, 6, BEYOND, 7, 8):
            record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=prompt, completion=0))

        await record.write()
        (sum_,) = await store.usage.sums(ALICE, UsageGroup.MODEL)

    assert (sum_.requests, sum_.prompt) == (4, 5 + 6 + 7 + 8)


class Log:
    """Takes everything, once it has raised what it has to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.records: list[UsageRecord] = []

    async def add(self, records: Sequence[UsageRecord]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.records += records

    async def sums(self, *_: object, **__: object) -> Sequence[UsageSum]:
        return []


async def test_what_goes_wrong_once_loses_nothing_and_changes_no_order() -> None:
    log = Log(RuntimeError("never heard of it"), DatabaseUnavailable())
    record = RecordUsage(log=log, prices=PriceTable(), now=ManualClock(), ids=CountingIds())
    for prompt in range(9):
        record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=prompt, completion=0))

    await record.write()
    before = list(log.records)
    await record.write()

    assert before == []
    assert [one.tokens.prompt for one in log.records] == list(range(9))


async def test_being_cancelled_loses_nothing() -> None:
    log = Log(asyncio.CancelledError())
    record = RecordUsage(log=log, prices=PriceTable(), now=ManualClock(), ids=CountingIds())
    record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=1, completion=0))

    with pytest.raises(asyncio.CancelledError):
        await record.write()
    await record.write()

    assert len(log.records) == 1


async def test_what_was_written_though_the_word_of_it_was_lost_counts_once(tmp_path: Path) -> None:
    lost = Faults(error=DatabaseUnavailable, only={"add"}, afterwards=True)
    async with SqlStore.open(tmp_path / "usage.db") as store:
        await given(store, a_user(1))
        record, other = (
            RecordUsage(log=lost.wrap(store.usage), prices=DEAR, now=ManualClock(), ids=RandomIds()) for _ in range(2)
        )
        for prompt in range(9):
            record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=prompt, completion=0))
        await record.write()

        for each in (record, other):
            each(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=100, completion=0))
            await each.write()
        (sum_,) = await store.usage.sums(ALICE, UsageGroup.MODEL)

    assert lost.struck
    assert (sum_.requests, sum_.prompt) == (9 + 2, sum(range(9)) + 200)
