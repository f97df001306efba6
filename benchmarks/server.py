"""The server under test: `llm-backend serve` as users start it, with a folder and an upstream of its own."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import NAME, PASSWORD
from benchmarks.processes import free_port, running, wait_for_port
from llm_backend import Backend, open_backend
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.testing.scripted_chat_model import ScriptedChatModel

# A user may have any number of streams, as one user stands for many here.
CONFIGURATION = """\
data_folder: {folder}/data
llm:
  providers:
    - {{name: upstream, base_url: "http://127.0.0.1:{upstream}/v1", models: ["gpt-*"], needs_key: false}}
limits: {{streams_per_user: null, upload: 64MiB}}
"""
NO_UPSTREAM = 9  # the port of nobody
AT_ONCE = 64
EARLIER_ANSWER = "word" * 100


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    port: int
    pid: int


def configure(folder: Path, upstream: int = NO_UPSTREAM, more: str = "") -> Path:
    """Write the configuration of a server whose data live in `folder`, unless `more` of it says otherwise."""
    file = folder / "config.yaml"
    file.write_text(CONFIGURATION.format(folder=folder, upstream=upstream) + more)
    return file


@contextmanager
def serving(config: Path, *, core: int | None) -> Iterator[Server]:
    """One worker on one core (or on all), until the end of the block; its log is written as in production."""
    with started(config, core=core) as server:
        wait_for_port(server.pid, server.port, log_of(config))
        yield server


def log_of(config: Path) -> Path:
    return config.parent / "server.log"


@contextmanager
def started(config: Path, *, core: int | None) -> Iterator[Server]:
    """The same, from the first moment on, in which it does not listen yet."""
    port = free_port()
    command = [sys.executable, "-m", "llm_backend", "serve", "--config", str(config), "--port", str(port)]
    with running(command, core=core, log=log_of(config), cwd=config.parent) as pid:
        yield Server(port, pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Conversations to be there before a measurement, with so many questions asked and answered in each."""

    model: str
    count: int
    turns: int = 0


def prepare(config: Path, wanted: Sequence[Wanted] = ()) -> list[list[ConversationId]]:
    """Register the user and write conversations, while no server runs; a model on the spot gives the answers."""
    return asyncio.run(_prepare(config, wanted))


async def _prepare(config: Path, wanted: Sequence[Wanted]) -> list[list[ConversationId]]:
    async with open_backend(config, chat_model=ScriptedChatModel(EARLIER_ANSWER)) as backend:
        user = await backend.register_user(NAME, PASSWORD)
        return [await _conversations(backend, user, each) for each in wanted]


async def _conversations(backend: Backend, user: UserId, wanted: Wanted) -> list[ConversationId]:
    written: list[ConversationId] = []
    while len(written) < wanted.count:
        some = range(min(AT_ONCE, wanted.count - len(written)))
        written += await asyncio.gather(*(_conversation(backend, user, wanted) for _ in some))
    return written


async def _conversation(backend: Backend, user: UserId, wanted: Wanted) -> ConversationId:
    conversation = await backend.create_conversation(user, "Measured", wanted.model)
    for _ in range(wanted.turns):
        answer = await backend.send_message(user, conversation.id, "What comes next, and why should it?")
        async for _ in backend.follow_answer(user, answer):
            pass
    return conversation.id
