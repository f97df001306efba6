"""A backend without HTTP, which does what others ask for. Neither Litestar nor uvicorn is imported."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version

from llm_backend.bootstrap.opening import open_backend
from llm_backend.bootstrap.processes import begin
from llm_backend.config import ConfigurationError, Fault, Settings
from llm_backend.interface.running import asked_to_end, run


def work(settings: Settings) -> None:
    """Do jobs, keep house and finish the answers of replicas that died, until SIGTERM or SIGINT.

    Raises `ConfigurationError` where there is nobody to work for, or nothing to do.
    """
    if faults := list(_faults(settings)):
        raise ConfigurationError(faults)
    begin(settings)
    run(_work(settings))


def _faults(settings: Settings) -> Iterator[Fault]:
    if settings.database.url is None:
        message = (
            "is missing: a worker shares PostgreSQL with servers; on SQLite, `llm-backend serve` does all jobs itself"
        )
        yield Fault(path="database.url", message=message)
    if settings.jobs.concurrency == 0:
        message = "is 0, as for replicas that leave jobs to workers; start a worker with --concurrency 4, for example"
        yield Fault(path="jobs.concurrency", message=message)


async def _work(settings: Settings) -> None:
    with asked_to_end() as asked:
        async with open_backend(settings) as backend:
            _greet(settings)
            await asked.wait()
            await backend.drain()


def _greet(settings: Settings) -> None:
    """The first lines on the terminal: what it does, and for whom."""
    at_once = "1 job" if settings.jobs.concurrency == 1 else f"{settings.jobs.concurrency} jobs"
    lines = [
        f"llm-backend {version('llm-backend-api')} works: {at_once} at a time, housekeeping, answers left behind",
        f"  database   PostgreSQL at {settings.database.place}",
        f"  originals  {settings.originals_uri or settings.originals_folder}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    with suppress(OSError):  # nobody reads it
        sys.stdout.flush()
