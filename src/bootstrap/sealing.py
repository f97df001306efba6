"""Whether what was sealed in one place can be opened in another: asked before anything is copied there."""

from collections.abc import Collection, Mapping
from typing import TypeAlias

from llm_backend.bootstrap.telling import say
from llm_backend.config import Settings
from llm_backend.domain.errors import Conflict
from llm_backend.infrastructure.security.key_ring import key_id
from llm_backend.infrastructure.security.keys import load_ring
from llm_backend.infrastructure.security.secret_box import KEY_BYTES

KeyIds: TypeAlias = Collection[str]
Counts: TypeAlias = Mapping[str, int]
"""How many secrets are sealed with each key."""


class KeysMissing(Conflict):
    """The API keys that users have stored would arrive, and could not be opened."""

    code = "secrets_keys_missing"
    default_message = "The keys that the stored secrets are sealed with are not there"


def ids_of_ring(settings: Settings) -> KeyIds:
    """Of the keys that open secrets there: those of the configuration, or of the file. None is made.

    Raises `KeyFileUnusable`, and `OSError` when the file cannot be read.
    """
    if settings.secrets_keys:
        return [key_id(bytes.fromhex(key.reveal())) for key in settings.secrets_keys]
    if not settings.key_file.exists():
        return []
    return [key_id(key) for key in load_ring(settings.key_file, KEY_BYTES)]


def refuse_if_sealed_for_ever(sealed: Counts, opened: KeyIds, arriving: KeyIds, target: Settings, *, kept: str) -> None:
    """`opened` are the keys of where the secrets come from, `arriving` those that come along, `kept` says where the
    others are.

    What could not be opened before is lost already, and keeps nobody from moving. Raises `KeysMissing`.
    """
    there = {*ids_of_ring(target), *arriving}
    missing = {key: count for key, count in sealed.items() if key not in there}
    lost = {key: missing.pop(key) for key in set(missing) - set(opened)}
    if missing:
        raise KeysMissing(
            f"{sum(missing.values())} API keys of users are sealed with {_named(missing)}, which is not among the keys "
            f"of the new place, so nobody could use them there. Add {kept} to {_place_of_ring(target)}, behind those "
            "that are there, and run this again"
        )
    if lost:
        say(f"note: {sum(lost.values())} API keys of users are sealed with {_named(lost)}, which is on neither side")


def _named(keys: KeyIds) -> str:
    return f"key {', '.join(sorted(keys))}"


def _place_of_ring(settings: Settings) -> str:
    return "secrets_keys of its configuration" if settings.secrets_keys else str(settings.key_file)
