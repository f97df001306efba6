"""Opening a backend, and closing it in order."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Unpack

from llm_backend.application.api_keys import KeyUses
from llm_backend.application.backend import Backend
from llm_backend.application.heartbeat import Heartbeat
from llm_backend.bootstrap.adapters import Ports, open_adapters
from llm_backend.bootstrap.responses import shelf_in_passing
from llm_backend.bootstrap.use_cases import (
    answer_runner,
    is_shared,
    job_runner,
    record_usage,
    take_over_answers,
    use_cases,
)
from llm_backend.config import Settings
from llm_backend.infrastructure.files.scratch import Scratch

HOUSEKEEPING = timedelta(minutes=5)
KEY_USES = timedelta(seconds=30)
USAGE = timedelta(seconds=1)  # how much of it a process may lose that is killed
_OTHER_WAYS = "Settings.from_mapping() makes them of a dict"


@asynccontextmanager
async def open_backend(settings: Settings | Path | str | None = None, **ports: Unpack[Ports]) -> AsyncIterator[Backend]:
    """Everything, ready to be called, until the end of the block.

    `settings` may be the path of a configuration file; without any, `config.yaml` of the working directory counts,
    and the environment. Each port can be given by keyword, in place of the adapter that the settings would choose;
    any other keyword raises `TypeError`.
    Folders that are made for it are for their owner alone, and so is what is in them. In folders that are there
    already and open to others, LanceDB goes by the umask, which is the program's to set (the commands set 077).
    At the end running answers and jobs get `server.shutdown_grace` to finish; what is left of answers is stored, and
    jobs go on when a backend is opened again.
    """
    _check_names(ports)
    settings = _read(settings)
    async with AsyncExitStack() as stack:
        adapters = await open_adapters(settings, ports, stack)
        heartbeat = await stack.enter_async_context(
            Heartbeat(leases=adapters.store.leases, alone=not is_shared(settings))
        )
        record = record_usage(settings, adapters)  # closed behind all that may still have something to say
        await stack.enter_async_context(record.regularly(USAGE))
        runner = await stack.enter_async_context(answer_runner(settings, adapters, heartbeat, record))
        adapters.stop_signals.subscribe(runner.stop_soon)
        scratch = Scratch.open(settings.uploads_folder)
        stack.callback(scratch.close)
        jobs = await stack.enter_async_context(job_runner(settings, adapters, scratch.folder))
        key_uses = KeyUses(adapters.store.transactions)
        await stack.enter_async_context(key_uses.regularly(KEY_USES))
        in_passing = shelf_in_passing(adapters, record, settings.server.shutdown_grace)
        await stack.enter_async_context(in_passing.runner)
        backend = use_cases(settings, adapters, runner, jobs, key_uses, record, in_passing, scratch.folder)
        take_over = take_over_answers(settings, adapters, runner, heartbeat, record)
        await stack.enter_async_context(take_over.regularly(heartbeat.every))
        await stack.enter_async_context(backend.keep_house.regularly(HOUSEKEEPING))
        await stack.enter_async_context(backend.watch_index.regularly(HOUSEKEEPING))
        yield backend


def _check_names(ports: Mapping[str, object]) -> None:
    """`Unpack` is only for type checkers: at run time any keyword comes through, and would be ignored.

    Raises `TypeError`.
    """
    known = list(Ports.__annotations__)
    if unknown := [name for name in ports if name not in known]:
        names = ", ".join(map(repr, unknown))
        raise TypeError(f"open_backend() got an unexpected keyword {names}; ports are: {', '.join(known)}")


def _read(settings: object) -> Settings:
    """Raises `TypeError` as well, for who has no type checker."""
    if settings is None:
        return Settings.from_environment()
    if isinstance(settings, Settings):
        return settings
    if isinstance(settings, Path | str):
        return Settings.from_file(settings)
    kind = type(settings).__name__
    raise TypeError(f"open_backend() takes Settings, or the path of a file as Path or str, not {kind}; {_OTHER_WAYS}")
