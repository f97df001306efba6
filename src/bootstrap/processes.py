"""What processes that stay begin with."""

import os

from llm_backend.config import Settings
from llm_backend.interface.logs import set_up_logs


def begin(settings: Settings) -> None:
    """Logs as configured; and what libraries write, too, is for the owner alone: documents are in the files of LanceDB,
    word for word."""
    os.umask(0o077)
    set_up_logs(settings.log.level, json=None if settings.log.format == "auto" else settings.log.format == "json")
