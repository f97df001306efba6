"""The composition root: settings become adapters, adapters become use cases. No logic lives here.

`adapters` is the screen to read: which adapter serves which port. Neither Litestar nor what the settings do not name is
imported by `open_backend`.
"""

from llm_backend.bootstrap.adapters import Adapters, Ports
from llm_backend.bootstrap.opening import open_backend
from llm_backend.config import Settings

__all__ = ["Adapters", "Ports", "check_migrations", "migrate", "open_backend", "reindex", "serve"]


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    from llm_backend.bootstrap import commands

    commands.serve(settings)


def migrate(settings: Settings) -> None:
    """Bring the database to the current schema."""
    from llm_backend.bootstrap import commands

    commands.migrate(settings)


def check_migrations(settings: Settings) -> bool:
    """Tell what the database lacks; return whether it is up to date."""
    from llm_backend.bootstrap import commands

    return commands.check_migrations(settings)


def reindex(settings: Settings) -> None:
    """Build the passage index anew from the database."""
    from llm_backend.bootstrap import commands

    commands.reindex(settings)
