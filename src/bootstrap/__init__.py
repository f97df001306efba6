"""The composition root: settings become adapters, adapters become use cases. No logic lives here.

`adapters` is the screen to read: which adapter serves which port. Neither Litestar nor what the settings do not name is
imported by `open_backend`.
"""

from llm_backend.bootstrap.adapters import Adapters, Ports
from llm_backend.bootstrap.opening import open_backend
from llm_backend.config import Settings

__all__ = ["Adapters", "Ports", "migrate", "open_backend", "reindex", "serve"]


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    from llm_backend.bootstrap import commands

    commands.serve(settings)


def migrate(settings: Settings) -> None:
    """Bring the database to the current schema."""
    from llm_backend.bootstrap import commands

    commands.migrate(settings)


def reindex(settings: Settings, *, anew: bool = False) -> None:
    """Put back into the passage index what it lacks, or everything."""
    from llm_backend.bootstrap import commands

    commands.reindex(settings, anew=anew)
