"""Values that must not be seen by accident."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Text that hides itself in `repr` and `str`; `reveal()` is where to look for its uses."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret encrypted at rest, with the id of the key that opens it."""

    key_id: str
    sealed: bytes
