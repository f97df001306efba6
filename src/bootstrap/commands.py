"""What the command line does with the backend."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

from llm_backend.bootstrap.greeting import greeting
from llm_backend.bootstrap.opening import open_backend
from llm_backend.bootstrap.processes import begin
from llm_backend.config import Settings
from llm_backend.infrastructure.files.scratch import Scratch
from llm_backend.sparing import hidden

# Litestar takes a class from advanced-alchemy if that is installed, which brings its ORM, pydantic and NumPy along:
# 46 MiB, and half of the time that it takes to start.
with hidden("advanced_alchemy", "pydantic", "attrs"):
    from llm_backend.interface.http.app import create_app
    from llm_backend.interface.http.options import MIB, FramingChoice, HttpOptions
    from llm_backend.interface.http.server import ServerOptions
    from llm_backend.interface.http.server import serve as serve_app
    from llm_backend.interface.running import run

UNLIMITED = 1024 * 1024 * MIB  # a limit that is lifted


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    begin(settings)
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    with ExitStack() as stack:
        scratch = Scratch.open(settings.uploads_folder)
        stack.callback(scratch.close)
        async with open_backend(settings) as backend:
            with hidden("pydantic", "attrs"):  # which LanceDB has installed: of models of theirs there are none here
                app = create_app(backend, _http_options(settings, scratch))
            await serve_app(
                app,
                _server_options(settings),
                drain=backend.drain,
                listening=lambda url: _greet(settings, url),
            )


def _http_options(settings: Settings, scratch: Scratch) -> HttpOptions:
    return HttpOptions(
        framing=FramingChoice(settings.server.framing),
        body_limit=UNLIMITED if settings.limits.body is None else settings.limits.body,
        prompt_limit=UNLIMITED if settings.limits.prompt is None else settings.limits.prompt,
        upload_limit=UNLIMITED if settings.limits.upload is None else settings.limits.upload,
        cors_origins=settings.server.cors_origins,
        documentation=settings.server.documentation,
        scratch=scratch.folder,
        keep_alive=settings.server.keep_alive,
        version=version("llm-backend-api"),
    )


def _server_options(settings: Settings) -> ServerOptions:
    server = settings.server
    return ServerOptions(
        host=server.host,
        port=server.port,
        head_timeout=server.header_timeout,
        body_timeout=server.body_timeout,
        reading_timeout=server.reading_timeout,
        shutdown_grace=server.shutdown_grace,
        trusted_proxies=server.trusted_proxies,
    )


def _greet(settings: Settings, url: str) -> None:
    sys.stdout.write(greeting(settings, url))
    with suppress(OSError):  # nobody reads it
        sys.stdout.flush()


def migrate(settings: Settings) -> None:
    """Bring the database to the current schema."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import databases

    changed = run(databases.migrate(settings))
    sys.stdout.write("The database was migrated.\n" if changed else "The database is up to date.\n")


def check_migrations(settings: Settings) -> bool:
    """Whether the database has the current schema; what it lacks is written to the terminal."""
    from llm_backend.bootstrap import databases

    missing = run(databases.pending(settings))
    lines = ["To be migrated:", *(f"  {name}" for name in missing)] if missing else ["The database is up to date."]
    sys.stdout.write("\n".join(lines) + "\n")
    return not missing


def reindex(settings: Settings, *, anew: bool = False) -> None:
    """Put back into the passage index what it lacks, or everything."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import reindexing

    sys.stdout.write(f"The index holds {run(reindexing.reindex(settings, anew=anew))} passages now.\n")


def rotate_keys(settings: Settings, *, tokens: bool, seal_only: bool, drop_old: bool, at_once: bool) -> None:
    """Replace the key that seals secrets, or the one that signs tokens."""
    _keep_to_ourselves()
    from llm_backend.bootstrap.rotation import Rotation, rotate_secrets_keys, rotate_token_keys

    how = Rotation.SEAL_ONLY if seal_only else Rotation.NEW
    if drop_old:
        how = Rotation.DROP_NOW if at_once else Rotation.DROP
    run((rotate_token_keys if tokens else rotate_secrets_keys)(settings, how))


def migrate_store(source: Settings, target: Settings) -> None:
    """Copy everything from one store into another, and build the passage index there."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import moving

    run(moving.migrate_store(source, target))
    reindex(target)


def backup(settings: Settings, to: Path, *, with_keys: bool) -> None:
    """Save everything in one file."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import backups

    run(backups.backup(settings, to, with_keys=with_keys))


def restore(settings: Settings, archive: Path) -> None:
    """Bring what was saved into an empty store, and build the passage index there."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import backups

    run(backups.restore(settings, archive))
    reindex(settings)


def import_old(settings: Settings, file: Path, redis: str, *, dry_run: bool) -> None:
    """Take over users and conversations of the old product."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import importing

    run(importing.import_old(settings, file, redis, dry_run=dry_run))


def evaluate_retrieval(
    folder: Path,
    configurations: Sequence[tuple[str, Settings]],
    *,
    words_only: bool,
    plot: Path | None,
    json: Path | None,
) -> None:
    """Measure how well things are found."""
    _keep_to_ourselves()
    from llm_backend.bootstrap import evaluating

    collection, runs = evaluating.evaluate_retrieval(folder, configurations, words_only=words_only)
    evaluating.report(collection, runs, plot=plot, json=json)


def _keep_to_ourselves() -> None:
    """What libraries write, too, is for the owner alone: documents are in the files of LanceDB, word for word."""
    os.umask(0o077)
