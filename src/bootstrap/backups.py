"""Everything into one file, while serving, and back into an empty store."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.application.copying_files import whole_files
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.bootstrap import databases
from llm_backend.bootstrap.adapters import open_blobs
from llm_backend.bootstrap.places import prepare, refuse_if_old, refuse_if_served, take
from llm_backend.bootstrap.sealing import KeyIds, ids_of_ring, refuse_if_sealed_for_ever
from llm_backend.bootstrap.telling import say, say_count
from llm_backend.config import Settings
from llm_backend.domain.errors import Conflict
from llm_backend.infrastructure.archive.form import ArchiveDamaged, Manifest
from llm_backend.infrastructure.archive.reading import Member, checked, members
from llm_backend.infrastructure.archive.writing import ArchiveWriter
from llm_backend.infrastructure.security.keys import put_key_file
from llm_backend.infrastructure.sql.migrating import newest_revision
from llm_backend.infrastructure.sql.moving import (
    Snapshot,
    Tally,
    Tallying,
    Target,
    decode_rows,
    encode_rows,
    moved_table,
    moved_tables,
)

TABLES, FILES, KEYS = "tables", "files", "keys"
_SECRETS, _TOKENS = "secrets.keys", "jwt.secret"


class OtherVersion(Conflict):
    """It holds tables of another schema."""

    code = "other_version"
    default_message = "The backup was made by another version of this program"


class RestoreDiffers(Conflict):
    """What arrived is not what was in the backup."""

    code = "restore_differs"
    default_message = "What was restored is not what was saved"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    made_at: datetime
    version: str
    schema: str
    tables: Mapping[str, Tally]
    files: int
    keys: tuple[str, ...]
    """The names of those that are in it."""
    sealed: Mapping[str, int] = {}
    """How many API keys of users are sealed with each key."""
    opened_by: tuple[str, ...] = ()
    """The ids of the keys that there were to open them."""


async def backup(settings: Settings, to: Path, *, with_keys: bool) -> Path:
    """Write an archive of one moment, beside servers at work, and return where it is.

    Files are looked for before that moment and right after it, so that those of documents deleted in between are there
    as well.
    """
    path = _file_in(to)
    await refuse_if_old(settings)
    keys = _keys(settings) if with_keys else {}
    opened_by = set(_ids_that_can_be_read(settings))
    async with AsyncExitStack() as stack:
        engine = await databases.open_engine(settings, stack, reading=True)
        archive = stack.enter_context(ArchiveWriter.open(path))
        files = _Files(archive, open_blobs(settings, stack))
        await files.save_new()
        snapshot = await stack.enter_async_context(Snapshot.open(engine))
        await files.save_new()
        tables = await _save_tables(archive, snapshot)
        keys = _joined(_keys(settings), keys) if with_keys else {}
        for name, content in keys.items():
            archive.add(f"{KEYS}/{name}", content)
        about = About(
            made_at=datetime.now(UTC),
            version=version("llm-backend-api"),
            schema=newest_revision(),
            tables=tables,
            files=len(files.saved),
            keys=tuple(keys),
            sealed=await snapshot.secrets_by_key(),
            opened_by=tuple(sorted(opened_by.union(_ids_that_can_be_read(settings)))),
        )
        archive.close(msgspec.to_builtins(about))
    say(f"{path} has it all, as of the moment when it was begun." if with_keys else f"{path} has it all but the keys.")
    _tell_keys(settings, keys, with_keys=with_keys)
    return path


def _file_in(to: Path) -> Path:
    return to / f"llm-backend-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz" if to.is_dir() else to


def _ids_that_can_be_read(settings: Settings) -> KeyIds:
    """Who makes backups need not be who serves, and may lack the right to see the keys."""
    try:
        return ids_of_ring(settings)
    except OSError:
        return ()


async def _save_tables(archive: ArchiveWriter, snapshot: Snapshot) -> Mapping[str, Tally]:
    tallies: dict[str, Tally] = {}
    for table in moved_tables():
        tallying, number = Tallying(), 0
        async with aclosing(snapshot.pages(table)) as pages:
            async for page in pages:
                number += 1
                archive.add(f"{TABLES}/{table.name}/{number}", encode_rows(page))
                tallying.add(page)
        tallies[table.name] = tallying.result()
        say_count(table.name, f"{tallies[table.name].rows} rows")
    return tallies


class _Files:
    """Uploaded files on their way into an archive, each once."""

    def __init__(self, archive: ArchiveWriter, blobs: Blobs) -> None:
        self.saved: set[BlobKey] = set()
        self._archive = archive
        self._blobs = blobs

    async def save_new(self) -> None:
        for key in await whole_files(self._blobs):
            if key not in self.saved:
                await self._save(key)

    async def _save(self, key: BlobKey) -> None:
        number = 0
        try:
            async for piece in self._blobs.read(key):
                number += 1
                self._archive.add(f"{FILES}/{key}/{number}", piece)
        except BlobNotFound:
            return  # deleted meanwhile
        if not number:
            self._archive.add(f"{FILES}/{key}/1", b"")
        self.saved.add(key)


def _keys(settings: Settings) -> Mapping[str, bytes]:
    """The key files, as far as the keys are in files."""
    files = {
        _SECRETS: None if settings.secrets_keys else settings.key_file,
        _TOKENS: None if settings.jwt.secret else settings.jwt_secret_file,
    }
    return {name: path.read_bytes() for name, path in files.items() if path and path.exists()}


def _joined(newer: Mapping[str, bytes], older: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The lines of both, as the ring may have been turned meanwhile."""
    return {
        name: b"\n".join(dict.fromkeys((*content.splitlines(), *older.get(name, b"").splitlines()))) + b"\n"
        for name, content in newer.items()
    }


def _tell_keys(settings: Settings, saved: Mapping[str, bytes], *, with_keys: bool) -> None:
    for name in saved:
        say(f"{name} is in it: whoever has the file can open every API key that users have stored.")
    kept = [str(path) for path in (settings.key_file, settings.jwt_secret_file) if path.exists() and not with_keys]
    if settings.secrets_keys or settings.jwt.secret:
        kept.append("the keys of your configuration")
    if kept:
        say(f"Keep as well, in another place: {', '.join(kept)}")


async def restore(settings: Settings, archive: Path) -> None:
    """Bring a backup into an empty store. Takes nothing from a damaged one, and overwrites nothing.

    May be cut off anywhere and started again.
    """
    manifest = checked(archive)
    about = _readable(manifest)
    async with AsyncExitStack() as stack:
        take(stack, settings)
        await prepare(settings)
        engine = await databases.open_engine(settings, stack)
        await refuse_if_served(settings, engine)
        _refuse_if_sealed_for_ever(settings, about)
        target = await Target.open(engine, f"backup {sha256(msgspec.json.encode(manifest)).hexdigest()}")
        say(f"From {archive}, of {about.made_at:%Y-%m-%d %H:%M} UTC, to {databases.place_of(settings)}")
        await _bring(settings, target, members(archive))
        await _compare(about, await databases.open_engine(settings, stack, reading=True))
        await target.finish()
    if not about.keys:
        say("The backup has no keys in it: put yours where they were before you start a server.")
    elif settings.jwt.secret:
        say("note: tokens are signed with the key of the configuration: older ones may be good no more")


def _refuse_if_sealed_for_ever(settings: Settings, about: About) -> None:
    """Raises `KeysMissing`. Where there are no keys at all yet, they are still to be put there."""
    arriving = _SECRETS in about.keys and not settings.secrets_keys
    if arriving or settings.secrets_keys or settings.key_file.exists():
        kept = f"the lines of {KEYS}/{_SECRETS} in the backup" if _SECRETS in about.keys else "the keys of that time"
        along = about.opened_by if arriving else ()
        refuse_if_sealed_for_ever(about.sealed, about.opened_by, along, settings, kept=kept)


def _readable(manifest: Manifest) -> About:
    try:
        about = msgspec.convert(manifest.about, About)
    except msgspec.ValidationError as error:
        raise ArchiveDamaged from error
    if about.schema != newest_revision():
        raise OtherVersion(
            f"The backup was made by version {about.version}, with schema {about.schema}; this version has "
            f"{newest_revision()}. Restore it with that version, and then upgrade"
        )
    return about


async def _bring(settings: Settings, target: Target, found: Iterable[Member]) -> None:
    with ExitStack() as stack:
        blobs = open_blobs(settings, stack)
        for (kind, name), group in groupby(found, _kind_and_name):
            if kind == TABLES:
                await _bring_rows(target, name, group)
            elif kind == FILES:
                await blobs.put(BlobKey(name), _pieces(group))
            elif kind == KEYS:
                _bring_key(settings, name, group)
            else:
                raise ArchiveDamaged


def _kind_and_name(member: Member) -> tuple[str, str]:
    kind, _, rest = member.name.partition("/")
    return kind, rest.partition("/")[0]


async def _bring_rows(target: Target, name: str, pages: Iterator[Member]) -> None:
    """Those pages that an earlier attempt has not brought."""
    table = moved_table(name)
    skip = int(target.reached(table) or 0)
    for number, page in enumerate(pages, start=1):
        if number > skip:
            await target.add(table, decode_rows(table, page.content), reached=str(number).encode())


async def _pieces(group: Iterator[Member]) -> AsyncIterator[bytes]:
    for member in group:
        yield member.content


def _bring_key(settings: Settings, name: str, group: Iterator[Member]) -> None:
    places = {_SECRETS: settings.key_file, _TOKENS: settings.jwt_secret_file}
    if name not in places:
        raise ArchiveDamaged
    content = b"".join(member.content for member in group)
    if settings.secrets_keys if name == _SECRETS else settings.jwt.secret:
        say_count(name, "not restored, as the configuration has keys of its own, and no file would be read")
        return
    put_key_file(places[name], content)
    say_count(name, "restored")


async def _compare(about: About, engine: AsyncEngine) -> None:
    """Raises `RestoreDiffers`, which names the tables."""
    different: list[str] = []
    async with Snapshot.open(engine) as arrived:
        for table in moved_tables():
            tally = await arrived.tally(table)
            say_count(table.name, f"{tally.rows} rows")
            if tally != about.tables.get(table.name, Tallying().result()):
                different.append(table.name)
    if different:
        raise RestoreDiffers(f"Not as they were saved: {', '.join(different)}. Begin again with an empty store")
