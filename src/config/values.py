"""How single values are written: `24h`, `64MiB`, `10/15m`, `:8080`."""

import math
import re
from datetime import timedelta
from typing import NewType

from llm_backend.application.ports.rate_limiter import RateLimit

Size = NewType("Size", int)
"""A number of bytes; written `64MiB`, `10MB` or `4096`."""

Port = NewType("Port", int)
"""A TCP port; written `8080`, `"8080"` or `":8080"`. 0 takes any free one."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:(?:\d+(?:\.\d+)?)(?:ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?", re.ASCII)
_RATE = re.compile(r"(\d+)/(.+)", re.ASCII)
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def read_duration(text: str) -> timedelta:
    """`500ms`, `10s`, `1h30m`, `7d`; a bare number counts seconds."""
    if _NUMBER.fullmatch(text):
        return _seconds(float(text))
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a duration such as "500ms", "10s", "1h30m" or "7d"')
    return _seconds(sum(float(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text)))


def _seconds(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError("is longer than any duration can be") from error


def read_size(text: str) -> Size:
    """`64MiB` counts in 1024s, `64MB` in 1000s; a bare number counts bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('must be a size such as "64MiB", "10MB" or "4096"')
    count, prefix, binary = match.groups()
    return Size(round(float(count) * (1024 if binary else 1000) ** _POWERS[prefix]))


def read_rate(text: str) -> RateLimit:
    """`10/15m`: ten in any fifteen minutes."""
    match = _RATE.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise ValueError('must be a rate such as "10/15m", or null for none')
    period = read_duration(match[2] if match[2][0].isdecimal() else f"1{match[2]}")
    if not period:
        raise ValueError("must count in a period longer than zero")
    return RateLimit(count=int(match[1]), period=period)


def read_port(text: str) -> Port:
    """With or without the colon that the old product allowed."""
    digits = text.removeprefix(":")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 5 and int(digits) <= 65535):
        raise ValueError("must be a port between 0 and 65535")
    return Port(int(digits))


def read_bool(text: str) -> bool:
    """The words that YAML 1.1 knows."""
    match text.lower():
        case "true" | "yes" | "on":
            return True
        case "false" | "no" | "off":
            return False
        case _:
            raise ValueError("must be true or false")


def read_count(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise ValueError("must be a whole number, not negative")
    return int(text)


def read_number(text: str) -> float:
    """`0.15`, `3`, `-1`."""
    if not _NUMBER.fullmatch(text.removeprefix("-")) or math.isinf(number := float(text)):
        raise ValueError("must be a number")
    return number


def fault_of_text(text: str) -> str | None:
    """What neither file systems, databases nor headers take, and Python itself only when it is too late."""
    if "\0" in text:
        return "must not contain the character NUL"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "must not contain half a character (a lone surrogate)"
    return None
