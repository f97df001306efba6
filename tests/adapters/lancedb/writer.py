"""A replica that writes to a passage index: `writer.py PLACE NAME DOCUMENTS`, with the storage options in the input.

It says that it is ready, waits for a line, and then writes documents of its own and some that all of them write.
After each one it searches for it; at the end it searches for what another one has written just before.
"""

import asyncio
import json
import sys

from llm_backend.domain.ids import DocumentId
from llm_backend.infrastructure.lancedb.index import LanceDbPassageIndex
from llm_backend.testing.contracts.passage_index import EAST, SHELF, SPACE, stored


async def main(place: str, name: str, documents: int) -> None:
    options = json.loads(sys.stdin.readline())
    async with LanceDbPassageIndex(place, options) as index:
        await index.check()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(documents):
            mine = f"{name}-{number}"
            await index.add(SPACE, [stored(f"fox {mine}", document=mine, position=n) for n in range(3)])
            await index.add(
                SPACE, [stored(f"fox all {number}", document=f"all-{number}", position=n) for n in range(3)]
            )
            await index.add(SPACE, [stored("fox gone", document=f"gone-{mine}")])
            await index.remove(SPACE, [DocumentId(f"gone-{mine}")])
            if number % 2 == 1:
                await index.optimize()
            found = await index.search(SPACE, SHELF, text=mine, vector=EAST, limit=1000)
            assert sum(candidate.stored.document == mine for candidate in found) == 3, "its own rows are not there"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
