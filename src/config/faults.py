"""What is wrong with a configuration, told all at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: the path of the key, what to do about it, and where it is written if that is known."""

    path: str
    message: str
    where: str = ""

    def inside(self, path: str, where: str) -> "Fault":
        """The same fault, seen from further out."""
        return replace(self, path=f"{path}.{self.path}".strip("."), where=self.where or where)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class ConfigurationError(Exception):
    """A configuration that cannot be used. It has every fault that was found, and no secret in its message."""

    def __init__(self, faults: Iterable[Fault], *, source: str = "The configuration") -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{source} cannot be used, {count}:", *map(str, self.faults)]))


def refuse(faults: Iterable[tuple[str, str]]) -> None:
    """Raise `ConfigurationError` unless there are no (key, message) pairs."""
    found = [Fault(path=key, message=message) for key, message in faults]
    if found:
        raise ConfigurationError(found)


def zeros(section: object, *keys: str, message: str = "must be longer than zero") -> Iterator[tuple[str, str]]:
    """A pair for `refuse` for each key that is zero or less."""
    for key in keys:
        value = getattr(section, key)
        if value <= type(value)(0):
            yield key, message
