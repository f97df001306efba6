"""What the HTTP face lets its host decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

MIB = 1024 * 1024


class FramingChoice(StrEnum):
    """How the events of an answer are written: as each client asks for, or one way for all."""

    AUTO = "auto"
    PLAIN = "plain"
    SSE = "sse"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Limits are in bytes. Without `scratch`, uploads pass through the system's folder for temporary files."""

    framing: FramingChoice = FramingChoice.AUTO
    body_limit: int = MIB
    prompt_limit: int = 16 * MIB  # of what goes on to a model, with pictures in it
    upload_limit: int = 64 * MIB
    cors_origins: Sequence[str] = ()
    documentation: bool = True
    scratch: Path | None = None
    keep_alive: timedelta = timedelta(seconds=15)  # of silence, after which a strict stream gets a comment
    version: str = "0"
