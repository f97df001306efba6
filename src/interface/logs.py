"""Logs: one line for each event, for people on a terminal, as JSON anywhere else."""

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import Processor

_encode = msgspec.json.Encoder(enc_hook=repr).encode

_COMMON: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def set_up_logs(level: str = "info", *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Send everything of at least `level` to `stream`, standard error unless given. `json` is chosen by what that is.

    Covers the standard library's loggers and ours. httpx writes one line for each request to a provider, and alembic
    one for each of its parts; only their warnings pass.
    """
    target: TextIO = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    number = logging.getLevelNamesMapping()[level.upper()]
    _set_up_structlog(number, as_json, target)
    _set_up_standard_library(number, as_json, target)


def _set_up_structlog(level: int, as_json: bool, stream: TextIO) -> None:
    structlog.configure(
        processors=[*_COMMON, *_last(as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def _set_up_standard_library(level: int, as_json: bool, stream: TextIO) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *_COMMON],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_last(as_json)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _last(as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_serialized)]
    # Its own formatter shows the local variables of every frame, and those hold passwords and keys.
    return [structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)]


def _serialized(event: Any, **_: Callable[..., Any]) -> str:
    return _encode(event).decode()
