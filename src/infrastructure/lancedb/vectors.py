"""An approximate index of vectors, for tables in which comparing every one takes too long."""

from collections.abc import Sequence
from functools import partial

from lancedb import AsyncTable
from lancedb.index import IvfSq
from lancedb.query import AsyncVectorQuery

from llm_backend.infrastructure.lancedb.conflicts import despite_conflicts

# Comparing 1,000 vectors of 1024 dimensions costs 2 to 7 ms, for they are read and decoded each time; the index holds
# them at a byte a number.
COMPARED_ONE_BY_ONE = 2_000  # of one knowledge base
# Where all of the index would have to be looked at, and is no longer in memory as a whole.
MANY_PARTITIONS, COMPARED_BESIDE_MANY = 64, 10_000
WORTH_AN_INDEX = 4_000  # in the whole table; up to 40,000 all partitions are looked at, and next to nothing is missed
# When it puts in rows that come later, LanceDB joins partitions of fewer than 2,048 rows (a quarter of the 8,192 that
# it aims at, which `target_partition_size` does not change). Of 550 partitions of 200 rows, at most five were left.
ROWS_IN_A_PARTITION = 4_000
MOST_PARTITIONS = 256
# In the partitions that are looked at, at 1 µs each; of those that pass the filter, as the others cost next to nothing.
# Ten partitions, whoever asks, held 61 of the 100 nearest of 2,500 among 117,500, and take 8.5 ms; all of them take 10.
# Asked to go on until there are enough results, LanceDB looks at nearly all.
FEWEST_PROBED = 10
PROBED_ROWS = FEWEST_PROBED * ROWS_IN_A_PARTITION
GROWTH = 2  # times the size, after which the index is made anew
FETCHED = 2  # times as many as are wanted, whose distances are then computed from the vectors themselves
# Vectors for each partition, to find their centres: 130 MiB at most. With a quarter of that, ten partitions of 27 hold
# 98 of the 100 nearest in place of all.
SAMPLED = 128
NAME = "vectors_{}"  # with the number of partitions


class VectorIndex:
    """Of one table. It is made when it pays, and made anew when the table has grown to twice the size.

    Rows that are not in it yet are found all the same.
    """

    def __init__(self, table: AsyncTable) -> None:
        self._table = table
        self._partitions = 0

    @property
    def is_there(self) -> bool:
        """As of the last look. Another process may have made it since; who does not know of it must bypass it."""
        return self._partitions > 0

    async def look(self) -> None:
        self._partitions = max(map(_partitions, await self._names()), default=0)

    async def keep_up(self) -> None:
        """Make it, if that pays by now. Searches and writes go on meanwhile."""
        await self.look()
        if not self._pays(await self._table.count_rows()):
            return
        embedded = await self._table.count_rows("vector IS NOT NULL")  # of fewer it cannot learn its partitions
        if not self._pays(embedded):
            return
        wanted = _partitions_of(embedded)
        old = await self._names()
        await despite_conflicts(partial(self._make, wanted))
        for name in old:
            await despite_conflicts(partial(self._table.drop_index, name))
        await self.look()

    def narrowed(self, query: AsyncVectorQuery, rows: int) -> AsyncVectorQuery:
        """The search, if that many rows pass its filter: by the index where that is quicker."""
        few = COMPARED_ONE_BY_ONE if self._partitions <= MANY_PARTITIONS else COMPARED_BESIDE_MANY
        if rows <= few:
            return query.bypass_vector_index()
        return query.nprobes(self._probed(rows)).refine_factor(FETCHED)

    def _pays(self, rows: int) -> bool:
        return rows >= WORTH_AN_INDEX and _partitions_of(rows) >= GROWTH * self._partitions

    def _probed(self, rows: int) -> int:
        return max(FEWEST_PROBED, -(-PROBED_ROWS * self._partitions // rows))

    async def _make(self, partitions: int) -> None:
        config = IvfSq(distance_type="dot", num_partitions=partitions, sample_rate=SAMPLED, max_iterations=20)
        # The annotation of LanceDB 0.40 has forgotten this kind.
        await self._table.create_index("vector", config=config, name=NAME.format(partitions))  # type: ignore[arg-type]

    async def _names(self) -> Sequence[str]:
        return [index.name for index in await self._table.list_indices() if "vector" in index.columns]


def _partitions_of(rows: int) -> int:
    return min(max(rows // ROWS_IN_A_PARTITION, 1), MOST_PARTITIONS)


def _partitions(name: str) -> int:
    number = name.removeprefix(NAME.format(""))
    return int(number) if number.isdigit() else 0
