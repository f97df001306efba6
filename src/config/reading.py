"""From a tree of texts to structs, collecting every fault on the way.

msgspec could convert the tree by itself, but it stops at the first fault and knows no lines.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum, auto
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from llm_backend.application.ports.rate_limiter import RateLimit
from llm_backend.config.faults import ConfigurationError, Fault
from llm_backend.config.trees import Tree, tree_of_text
from llm_backend.config.values import (
    Port,
    Size,
    fault_of_text,
    read_bool,
    read_count,
    read_duration,
    read_number,
    read_port,
    read_rate,
    read_size,
)
from llm_backend.domain.secrets import Secret

StructT = TypeVar("StructT", bound=msgspec.Struct)


class Mark(Enum):
    """What a type alone does not say about a key."""

    MAY_BE_UNSET = auto()
    """A `${NAME}` whose variable is not set means null here, instead of being a fault."""
    IS_MISSED_WHEN_UNSET = auto()
    """It means an empty value, which null is not: somebody wants it to be there."""


ApiKey = Annotated[Secret | None, Mark.MAY_BE_UNSET]
"""A provider's key. Without one, conversations bring their own."""
EmbeddingKey = Annotated[Secret | None, Mark.IS_MISSED_WHEN_UNSET]
"""An embedding model's key, which nobody else can bring. Null: its server asks for none."""

_SCALARS: Mapping[object, Callable[[str], object]] = {
    str: str,
    int: read_count,
    float: read_number,
    bool: read_bool,
    Path: Path,
    Secret: Secret,
    Size: read_size,
    Port: read_port,
    RateLimit: read_rate,
    timedelta: read_duration,
}
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class _Wrong(Exception):
    """A value that cannot be read; its faults have been written down."""


class _Unset(Exception):
    """A variable of the environment that is not set."""


def read_struct(kind: type[StructT], tree: Tree, environ: Mapping[str, str], *, source: str) -> StructT:
    """Build a struct from a tree. Raises `ConfigurationError` with every fault."""
    return read_struct_after([], kind, tree, environ, source=source)


def read_struct_after(
    faults: list[Fault], kind: type[StructT], tree: Tree, environ: Mapping[str, str], *, source: str
) -> StructT:
    """The same, where some faults are known already."""
    reader = _Reader(environ, faults)
    try:
        struct = reader.struct(kind, tree, "")
    except _Wrong:
        struct = None
    if struct is None or reader.faults:
        raise ConfigurationError(reader.faults, source=source)
    return struct


@dataclass(slots=True)
class _Reader:
    environ: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def struct(self, kind: type[StructT], tree: Tree, path: str) -> StructT:
        children = self._children(tree, path)
        known = {info.name: info for info in fields(kind)}
        self._report_unknown(children, list(known), path)
        values, failed = self._fields(known, children, tree, path)
        if any(known[name].required or _is_nested(known[name].type) for name in failed):
            raise _Wrong  # a rule over several keys would only complain about the consequences
        try:
            struct = kind(**values)
        except ConfigurationError as error:
            self._report_rules(error, failed, children, tree, path)
            raise _Wrong from error
        if failed:
            raise _Wrong
        return struct

    def _fields(
        self, known: Mapping[str, FieldInfo], children: Mapping[str, Tree], tree: Tree, path: str
    ) -> tuple[dict[str, object], set[str]]:
        """The values that could be read, and the names of those that could not."""
        values: dict[str, object] = {}
        failed: set[str] = set()
        for name, info in known.items():
            if name in children:
                try:
                    values[name] = self.value(info.type, children[name], _join(path, name))
                except _Wrong:
                    failed.add(name)
            elif info.required:
                self._report(_join(path, name), "is missing", tree)
                failed.add(name)
        return values, failed

    def value(self, kind: Any, tree: Tree, path: str) -> object:
        """A value of the type of a field. Raises `_Wrong` after writing down why."""
        optional, inner, marks = taken_apart(kind)
        try:
            value = self._interpolated(tree.value)
        except _Unset as error:
            if Mark.MAY_BE_UNSET in marks:
                return None
            if Mark.IS_MISSED_WHEN_UNSET in marks:
                return _SCALARS[inner]("")
            raise self._wrong(path, f"the environment variable {error} is not set", tree) from error
        if optional and value in (None, "", "null"):
            return None
        return self._present(inner, Tree(value, tree.where), path)

    def _present(self, kind: Any, tree: Tree, path: str) -> object:
        if _is_nested(kind):
            tree = self._opened(tree, path)
            containers = {tuple: self._items, dict: self._mapping}
            return containers.get(get_origin(kind), self.struct)(kind, tree, path)
        if get_origin(kind) is Literal:
            return self._choice(get_args(kind), tree, path)
        return self._scalar(kind, tree, path)

    def _items(self, kind: Any, tree: Tree, path: str) -> tuple[object, ...]:
        if not isinstance(tree.value, list):
            raise self._wrong(path, "must be a list", tree)
        read: list[object] = []
        wrong = False
        for index, item in enumerate(tree.value):
            try:
                read.append(self.value(get_args(kind)[0], item, f"{path}[{index}]"))
            except _Wrong:
                wrong = True
        if wrong:
            raise _Wrong
        return tuple(read)

    def _mapping(self, kind: Any, tree: Tree, path: str) -> dict[str, object]:
        children, (_, inner) = self._children(tree, path), get_args(kind)
        read: dict[str, object] = {}
        for name, child in children.items():
            with suppress(_Wrong):
                read[name] = self.value(inner, child, _join(path, name))
        if len(read) < len(children):
            raise _Wrong
        return read

    def _choice(self, choices: tuple[str, ...], tree: Tree, path: str) -> str:
        if tree.value not in choices:
            raise self._wrong(path, f"must be one of {', '.join(choices)}", tree)
        return str(tree.value)

    def _scalar(self, kind: Any, tree: Tree, path: str) -> object:
        value = tree.value
        if isinstance(kind, type) and kind not in {int, str} and isinstance(value, kind):
            return value
        if isinstance(value, dict | list) or value is None:
            raise self._wrong(path, "must be a single value", tree)
        if fault := fault_of_text(str(value)):
            raise self._wrong(path, fault, tree)
        try:
            return _SCALARS[kind](str(value).lower() if isinstance(value, bool) else str(value))
        except ValueError as error:
            shown = "" if kind is Secret else f", not {str(value)!r}"
            raise self._wrong(path, f"{error}{shown}", tree) from error

    def _children(self, tree: Tree, path: str) -> Mapping[str, Tree]:
        match tree.value:
            case None | "":
                return {}
            case dict() as children:
                return children
            case _:
                raise self._wrong(path, "must be a mapping of keys to values", tree)

    def _opened(self, tree: Tree, path: str) -> Tree:
        """A list or a mapping may stand in one variable of the environment, as YAML."""
        if not isinstance(tree.value, str):
            return tree
        try:
            return Tree(tree_of_text(tree.value, source=path).value, tree.where)
        except ConfigurationError as error:
            raise self._wrong(path, "is not YAML", tree) from error

    def _interpolated(self, value: object) -> object:
        return _VARIABLE.sub(self._variable, value) if isinstance(value, str) else value

    def _variable(self, match: re.Match[str]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return str(escaped)
        found = self.environ.get(name) or default
        if found is None:
            raise _Unset(name)
        return found

    def _report_unknown(self, children: Mapping[str, Tree], known: list[str], path: str) -> None:
        for name, child in children.items():
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
                self._report(_join(path, name), f"unknown key; {hint}", child)

    def _report_rules(
        self, error: ConfigurationError, failed: set[str], children: Mapping[str, Tree], tree: Tree, path: str
    ) -> None:
        for fault in error.faults:
            key = fault.path.partition(".")[0].partition("[")[0]
            if key not in failed:
                self.faults.append(fault.inside(path, children.get(key, tree).where))

    def _report(self, path: str, message: str, tree: Tree) -> None:
        self.faults.append(Fault(path=path, message=message, where=tree.where))

    def _wrong(self, path: str, message: str, tree: Tree) -> _Wrong:
        self._report(path, message, tree)
        return _Wrong(path)


def taken_apart(kind: Any) -> tuple[bool, Any, tuple[object, ...]]:
    """Whether null is allowed, the type without it, and the marks."""
    marks = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(bare) not in {Union, UnionType}:
        return False, bare, marks
    (inner,) = (member for member in get_args(bare) if member is not NoneType)
    return True, inner, marks


def _is_nested(kind: Any) -> bool:
    return get_origin(kind) in {tuple, dict} or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
