"""Usage is written behind the requests: what goes wrong with one record costs the others nothing."""

from collections.abc import Sequence
from pathlib import Path

from llm_backend.application.usage import RecordUsage
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.domain.ids import UserId
from llm_backend.domain.usage import Price, PriceTable, UsageGroup, UsageKind, UsageRecord, UsageSum
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.testing.builders import a_user
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.store import given

ALICE = UserId(1)
BEYOND = 2**53  # with the price below more than a column holds
DEAR = PriceTable([Price(pattern="*", prompt=2.5, completion=10)])


async def test_a_record_that_no_database_takes_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async with SqlStore.open(tmp_path / "usage.db") as store:
        await given(store, a_user(1))
        record = RecordUsage(log=store.usage, prices=DEAR, now=ManualClock())
        for prompt in (5, 6, BEYOND, 7, 8):
            record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=prompt, completion=0))

        await record.write()
        (sum_,) = await store.usage.sums(ALICE, UsageGroup.MODEL)

    assert (sum_.requests, sum_.prompt) == (4, 5 + 6 + 7 + 8)


class Log:
    """Takes everything, once it has raised what it has to."""

    def __init__(self, *errors: Exception) -> None:
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
    record = RecordUsage(log=log, prices=PriceTable(), now=ManualClock())
    for prompt in range(9):
        record(Access(user=ALICE), UsageKind.CHAT, "m", TokenUsage(prompt=prompt, completion=0))

    await record.write()
    before = list(log.records)
    await record.write()

    assert before == []
    assert [one.tokens.prompt for one in log.records] == list(range(9))
