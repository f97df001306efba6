"""From one store into another: SQLite or PostgreSQL, with the files and keys beside it."""

from contextlib import AsyncExitStack, ExitStack, aclosing
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.application.copying_files import CopyFiles
from llm_backend.bootstrap import databases
from llm_backend.bootstrap.adapters import open_blobs
from llm_backend.bootstrap.places import prepare, refuse_if_old, refuse_if_served, refuse_if_served_since, same, take
from llm_backend.bootstrap.sealing import ids_of_ring, refuse_if_sealed_for_ever
from llm_backend.bootstrap.telling import say, say_count
from llm_backend.config import Jwt, Settings
from llm_backend.domain.errors import Conflict
from llm_backend.infrastructure.security.keys import put_key_file
from llm_backend.infrastructure.sql.migrating import newest_revision
from llm_backend.infrastructure.sql.moving import Copied, Snapshot, Target, copy_tables, differences


class StoresDiffer(Conflict):
    """What arrived is not what was sent."""

    code = "stores_differ"
    default_message = "The two stores are not the same"


class SamePlace(Conflict):
    """There is nowhere to go."""

    code = "same_place"
    default_message = "Both configurations name the same database"


async def migrate_store(source: Settings, target: Settings) -> None:
    """Copy everything and compare it. May be cut off anywhere and started again.

    The passage index is not among it: it is made from what has been copied, which is right for every pair of
    places, and takes no longer than copying it.
    """
    if _is_one(source, target):
        raise SamePlace(f"Both configurations name {databases.place_of(source)}: there is nothing to move")
    async with AsyncExitStack() as stack:
        take(stack, source, target)
        await refuse_if_old(source)
        await prepare(target)
        reading = await databases.open_engine(source, stack, reading=True)
        writing = await databases.open_engine(target, stack)
        before = await refuse_if_served(source, reading)
        await refuse_if_served(target, writing)
        say(f"From {databases.place_of(source)} to {databases.place_of(target)}")
        snapshot = await stack.enter_async_context(Snapshot.open(reading))
        await _refuse_if_sealed_for_ever(source, target, snapshot)
        filling = await Target.open(writing, f"{databases.place_of(source)}, schema {newest_revision()}")
        await _copy(source, target, snapshot, filling)
        await _compare(snapshot, await databases.open_engine(target, stack, reading=True))
        await refuse_if_served_since(source, reading, before)
        await filling.finish()


def _is_one(source: Settings, target: Settings) -> bool:
    """What stands behind the name counts as well: it may be the folder of a socket."""
    queries = [urlsplit(one.database.url.reveal() if one.database.url else "").query for one in (source, target)]
    return databases.place_of(source) == databases.place_of(target) and queries[0] == queries[1]


async def _refuse_if_sealed_for_ever(source: Settings, target: Settings, snapshot: Snapshot) -> None:
    """Where nobody knows what opened them at the old place, all secrets count. Raises `KeysMissing`."""
    sealed, opened = await snapshot.secrets_by_key(), ids_of_ring(source)
    in_files = not (source.secrets_keys or target.secrets_keys)
    kept = "the secrets_keys of the old configuration" if source.secrets_keys else f"the keys in {source.key_file}"
    refuse_if_sealed_for_ever(sealed, opened or sealed, opened if in_files else (), target, kept=kept)


async def _copy(source: Settings, target: Settings, snapshot: Snapshot, filling: Target) -> None:
    if filling.is_resumed:
        say("An earlier attempt was cut off: going on from there")
    _copy_keys(source, target)
    if not _share_originals(source, target):
        with ExitStack() as stack:
            copy_files = CopyFiles(open_blobs(source, stack), open_blobs(target, stack))
            say_count("files", f"{await copy_files()} copied")
    shown = Copied("", 0)
    async with aclosing(copy_tables(snapshot, filling)) as progress:
        async for copied in progress:
            if copied.table != shown.table:
                _show(shown)
            shown = copied
            _show(shown, final=False)
    _show(shown)


def _share_originals(source: Settings, target: Settings) -> bool:
    if any((settings.originals_uri or "").startswith("s3://") for settings in (source, target)):
        return (source.originals_uri, source.object_storage) == (target.originals_uri, target.object_storage)
    return same(source.originals_folder, target.originals_folder)


def _show(copied: Copied, *, final: bool = True) -> None:
    if copied.table:
        say_count(copied.table, f"{copied.rows} rows copied", final=final)


async def _compare(snapshot: Snapshot, target: AsyncEngine) -> None:
    """Raises `StoresDiffer`, which names the tables."""
    different: list[str] = []
    say("Compared:")
    async with Snapshot.open(target) as arrived, aclosing(differences(snapshot, arrived)) as pairs:
        async for name, here, there in pairs:
            if here == there:
                say_count(name, f"{here.rows} rows, {here.checksum}")
            else:
                different.append(name)
                say_count(name, f"{here.rows} rows, {here.checksum}, but there {there.rows} rows, {there.checksum}")
    if different:
        raise StoresDiffer(
            f"Not the same on both sides: {', '.join(different)}. "
            "The source was changed between two attempts, or a disk is failing: begin again with an empty target"
        )


def _copy_keys(source: Settings, target: Settings) -> None:
    """Those in files; the others are in the configuration, and are carried over with that."""
    pairs: list[tuple[str, Path, Path]] = []
    if not (source.secrets_keys or target.secrets_keys):
        pairs.append(("secrets.keys", source.key_file, target.key_file))
    if not (source.jwt.secret or target.jwt.secret):
        pairs.append(("jwt.secret", source.jwt_secret_file, target.jwt_secret_file))
    for name, here, there in pairs:
        if here.exists() and not same(here, there):
            put_key_file(there, here.read_bytes())
            say_count(name, "copied")
    if not _share_tokens(source.jwt, target.jwt):
        say("note: tokens are signed with another key at the new place: everybody has to log in again")


def _share_tokens(source: Jwt, target: Jwt) -> bool:
    """A key that is in a file is copied into a file; one of a configuration may be in the other one as well."""
    if not (source.secret or target.secret):
        return True
    return source.secret is not None and source.secret in {target.secret, *target.previous}
