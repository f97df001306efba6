"""Configuration as it was written: texts, lists and mappings, each with the place that it comes from."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from llm_backend.config.faults import ConfigurationError, Fault

PREFIX = "LLM_BACKEND__"

Value: TypeAlias = "object | list[Tree] | dict[str, Tree]"


@dataclass(slots=True)
class Tree:
    """A value and where it is written. Scalars of a file stay texts: what they mean is for the settings to say."""

    value: Value
    where: str = ""


def tree_of_file(path: Path) -> Tree:
    """What a YAML file says. Raises `ConfigurationError`."""
    try:
        return tree_of_text(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise _unreadable(path, error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, "is not UTF-8") from error


def tree_of_text(text: str, *, source: str) -> Tree:
    """What a YAML text says. Raises `ConfigurationError` for a wrong syntax and for keys that stand twice."""
    faults: list[Fault] = []
    try:
        loader = yaml.SafeLoader(text)  # looks for control characters at once
        node = loader.get_single_node()
        tree = _tree_of_node(loader, node, faults) if node else Tree({}, "line 1")
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        fault = Fault(path="", message=error.problem or "is not YAML", where=line)
        raise ConfigurationError([fault], source=source) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError([Fault(path="", message="is not YAML that can be read")], source=source) from error
    if faults:
        raise ConfigurationError(faults, source=source)
    return tree


def tree_of_mapping(value: object) -> Tree:
    """What a Python programmer says."""
    if isinstance(value, Mapping):
        return Tree({str(key): tree_of_mapping(item) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Tree([tree_of_mapping(item) for item in value])
    return Tree(value)


def without_overrides(environ: Mapping[str, str]) -> Mapping[str, str]:
    """What is left for `${NAME}`."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}


def overridden(tree: Tree, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put `LLM_BACKEND__SERVER__PORT=8081` into the tree; yield what has no place there."""
    for name in sorted(environ):
        if name.startswith(PREFIX):
            keys = name.removeprefix(PREFIX).lower().split("__")
            try:
                _put(tree, keys, Tree(environ[name], name))
            except LookupError:
                yield Fault(path=".".join(keys), message="there is nothing by this path to override", where=name)


def _put(tree: Tree, keys: list[str], leaf: Tree) -> None:
    first, *rest = keys
    match tree.value:
        case list() as items if first.isdecimal():
            place: Tree = items[int(first)]
        case dict() as children:
            place = children.setdefault(first, Tree({}, leaf.where))
        case None:
            tree.value = {first: Tree({}, leaf.where)}
            place = tree.value[first]
        case _:
            raise LookupError(first)
    if rest:
        _put(place, rest, leaf)
    else:
        place.value, place.where = leaf.value, leaf.where


def _tree_of_node(loader: yaml.SafeLoader, node: yaml.Node, faults: list[Fault]) -> Tree:
    where = f"line {node.start_mark.line + 1}"
    match node:
        case yaml.MappingNode():
            faults.extend(_duplicates(node))
            loader.flatten_mapping(node)
            return Tree(dict(_child(loader, key, child, faults) for key, child in node.value), where)
        case yaml.SequenceNode():
            return Tree([_tree_of_node(loader, child, faults) for child in node.value], where)
        case _:
            return Tree(None if node.tag.endswith(":null") else str(node.value), where)


def _child(loader: yaml.SafeLoader, key: yaml.Node, node: yaml.Node, faults: list[Fault]) -> tuple[str, Tree]:
    """A key's line is where a reader looks, also when its value begins further down."""
    name, where = _key(key)
    return name, Tree(_tree_of_node(loader, node, faults).value, where)


def _key(node: yaml.Node) -> tuple[str, str]:
    return str(node.value), f"line {node.start_mark.line + 1}"


def _duplicates(node: yaml.MappingNode) -> Iterator[Fault]:
    seen: set[Hashable] = set()
    for key, _ in node.value:
        name, where = _key(key)
        if name in seen:
            yield Fault(path=name, message="stands twice in the same mapping", where=where)
        seen.add(name)


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError([Fault(path="", message=reason)], source=str(path))
