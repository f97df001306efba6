"""A program that takes turns for ever, and says on its output what has been acknowledged."""

import asyncio
import sys
from itertools import count
from pathlib import Path

from llm_backend.application.ports.answer_journal import Part
from llm_backend.domain.answers import Delta, Done
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.testing.builders import a_conversation, a_reply, a_turn, a_user
from llm_backend.testing.contracts.store import given

CONVERSATIONS = range(1, 9)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def talk(store: SqlStore, conversation: int) -> None:
    for turn in count():
        question, answer = 2 * turn + 1, AnswerId(conversation * 1_000_000 + turn)
        await store.journal.begin(
            a_turn(answer, conversation=conversation, question=question, text=f"question {answer}")
        )
        say("begun", conversation, question, answer)
        await store.journal.checkpoint([Part(answer, 1, [Delta(f"reply {answer}")])])
        say("checkpointed", conversation, question, answer)
        await store.journal.finish(answer, 2, [Done()], a_reply(question + 1, f"reply {answer}"))
        say("finished", conversation, question, answer)


async def main(path: Path) -> None:
    async with SqlStore.open(path) as store:
        await given(store, a_user(1), *map(a_conversation, CONVERSATIONS))
        await asyncio.gather(*(talk(store, conversation) for conversation in CONVERSATIONS))


asyncio.run(main(Path(sys.argv[1])))
