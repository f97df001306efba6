"""The composition root: settings become adapters, adapters become use cases. No logic lives here.

`adapters` is the screen to read: which adapter serves which port. Neither Litestar nor what the settings do not name is
imported by `open_backend`.
"""

from collections.abc import Sequence
from pathlib import Path

from llm_backend.bootstrap.adapters import Adapters, Ports
from llm_backend.bootstrap.opening import open_backend
from llm_backend.config import Settings

__all__ = [
    "Adapters",
    "Ports",
    "backup",
    "check_migrations",
    "create_key",
    "delete_key",
    "evaluate_retrieval",
    "import_old",
    "list_keys",
    "list_models",
    "migrate",
    "migrate_store",
    "open_backend",
    "pull_model",
    "reindex",
    "restore",
    "rotate_keys",
    "serve",
    "work",
]


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    from llm_backend.bootstrap import commands

    commands.serve(settings)


def work(settings: Settings) -> None:
    """Do jobs and whatever else is left to do, without HTTP, until SIGTERM or SIGINT."""
    from llm_backend.bootstrap import working

    working.work(settings)


def migrate(settings: Settings) -> None:
    """Bring the database to the current schema."""
    from llm_backend.bootstrap import commands

    commands.migrate(settings)


def check_migrations(settings: Settings) -> bool:
    """Tell what the database lacks; return whether it is up to date."""
    from llm_backend.bootstrap import commands

    return commands.check_migrations(settings)


def reindex(settings: Settings, *, anew: bool = False) -> None:
    """Put back into the passage index what it lacks, or everything."""
    from llm_backend.bootstrap import commands

    commands.reindex(settings, anew=anew)


def rotate_keys(
    settings: Settings, *, tokens: bool = False, seal_only: bool = False, drop_old: bool = False, at_once: bool = False
) -> None:
    """Replace the key that seals secrets, or the one that signs `tokens`, while servers run.

    `seal_only` and `drop_old` make no new key: the first only brings all secrets under the newest, the second forgets
    the older ones after that, if they have been old for long enough or it shall be `at_once`.
    """
    from llm_backend.bootstrap import commands

    commands.rotate_keys(settings, tokens=tokens, seal_only=seal_only, drop_old=drop_old, at_once=at_once)


def migrate_store(source: Settings, target: Settings) -> None:
    """Copy everything from one store into another, compare the two, and build the passage index there."""
    from llm_backend.bootstrap import commands

    commands.migrate_store(source, target)


def backup(settings: Settings, to: Path, *, with_keys: bool = False) -> None:
    """Save everything, as of one moment, in a new file or in a folder, while servers run."""
    from llm_backend.bootstrap import commands

    commands.backup(settings, to, with_keys=with_keys)


def restore(settings: Settings, archive: Path) -> None:
    """Bring what was saved into an empty store, compare it, and build the passage index there."""
    from llm_backend.bootstrap import commands

    commands.restore(settings, archive)


def evaluate_retrieval(
    folder: Path,
    configurations: Sequence[tuple[str, Settings]],
    *,
    words_only: bool = False,
    plot: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure how well the questions of a collection find what is relevant, with each of the named configurations; with
    `words_only`, the first of them without vectors."""
    from llm_backend.bootstrap import commands

    commands.evaluate_retrieval(folder, configurations, words_only=words_only, plot=plot, json=json)


def import_old(settings: Settings, file: Path, redis: str, *, dry_run: bool = False) -> None:
    """Take over users and conversations of the old product, from its SQLite file and its Redis, or only count them."""
    from llm_backend.bootstrap import commands

    commands.import_old(settings, file, redis, dry_run=dry_run)


def pull_model(settings: Settings, name: str) -> None:
    """Download a local embedding model."""
    from llm_backend.bootstrap import embedders

    embedders.pull_model(settings, name)


def list_models(settings: Settings) -> None:
    """Say of each embedding model where it runs, and whether it is there."""
    from llm_backend.bootstrap import embedders

    embedders.list_models(settings)


def create_key(
    settings: Settings, user: str, name: str, *, scopes: Sequence[str] = (), days: int | None = None
) -> None:
    """Make an API key for a user, and write it to the terminal."""
    from llm_backend.bootstrap import keys

    keys.create(settings, user, name, scopes=scopes, days=days)


def list_keys(settings: Settings, user: str) -> None:
    """Write the API keys of a user to the terminal, without the keys themselves."""
    from llm_backend.bootstrap import keys

    keys.show(settings, user)


def delete_key(settings: Settings, user: str, key: str) -> None:
    """Kill an API key of a user."""
    from llm_backend.bootstrap import keys

    keys.delete(settings, user, key)
