"""A section of the settings, which checks itself however it is built."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

from llm_backend.config.faults import refuse
from llm_backend.config.reading import taken_apart
from llm_backend.config.values import fault_of_text
from llm_backend.domain.secrets import Secret

_ALSO: Mapping[type, tuple[type, ...]] = {float: (float, int), tuple: (tuple, list)}
"""What does as well, as it does for type checkers or in effect."""


class Section(Struct, frozen=True, kw_only=True):
    """msgspec checks types only of what it decodes, so that what a program builds would fail later, and elsewhere."""

    def __post_init__(self) -> None:
        refuse(_wrong_values(self))
        refuse(self._faults())

    def _faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong although every value has its type, as pairs of a key and a message."""
        yield from ()


def _wrong_values(section: Section) -> Iterator[tuple[str, str]]:
    for key, kind in _kinds(type(section)).items():
        yield from _wrong_value(kind, getattr(section, key), key)


@cache
def _kinds(section: type[Section]) -> Mapping[str, Any]:
    return {info.name: info.type for info in fields(section)}


def _wrong_value(kind: Any, value: object, path: str) -> Iterator[tuple[str, str]]:
    """No message shows the value, which may be a secret."""
    optional, inner, _ = taken_apart(kind)
    if optional and value is None:
        return
    if get_origin(inner) is Literal:
        if value not in get_args(inner):
            yield path, f"must be one of {', '.join(get_args(inner))}"
        return
    bare = get_origin(inner) or getattr(inner, "__supertype__", inner)
    if not isinstance(value, _ALSO.get(bare, bare)) or (isinstance(value, bool) and bare is not bool):
        yield path, f"must be of the type {bare.__name__}, not {type(value).__name__}"
    elif fault := fault_of_text(_text(value)):
        yield path, fault
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _wrong_value(get_args(inner)[0], item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _wrong_value(get_args(inner)[0], key, path)
            yield from _wrong_value(get_args(inner)[1], item, f"{path}.{key}")


def _text(value: object) -> str:
    match value:
        case Secret():
            return value.reveal()
        case str() | Path():
            return str(value)
        case _:
            return ""
