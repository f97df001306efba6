"""All settings, and the ways to get them: a file, the environment, a mapping or plain Python."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import field

from llm_backend.config.checking import Section
from llm_backend.config.models import DEFAULT_EMBEDDING_MODELS, DEFAULT_PROVIDERS, S3_PLACE, Llm, Rag
from llm_backend.config.reading import read_struct, read_struct_after
from llm_backend.config.sections import Answers, Database, Jobs, Jwt, Limits, Log, ObjectStorage, Redis, Server, Sqlite
from llm_backend.config.trees import Tree, overridden, tree_of_file, tree_of_mapping
from llm_backend.domain.secrets import Secret

DEFAULT_FILE: Final = Path("config.yaml")

_SECRETS_KEY = re.compile("[0-9A-Fa-f]{64}")
_HOW_TO_MAKE_A_KEY: Final = "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"


class Settings(Section, frozen=True, kw_only=True):
    """Everything that can be configured. `Settings()` is the embedded profile: one process, one folder, no servers."""

    data_folder: Path = Path("data")
    """Where everything is kept that has no path of its own: database, vectors, uploads, keys."""
    originals_uri: str | None = None
    """Where uploaded files are kept: a folder, or s3://bucket/prefix; `originals` in the data
    folder, unless it says something else. Whoever does the jobs must have the same."""
    server: Server = Server()
    log: Log = Log()
    redis: Redis = Redis()
    sqlite: Sqlite = Sqlite()
    database: Database = Database()
    object_storage: ObjectStorage = ObjectStorage()
    jwt: Jwt = Jwt()
    secrets_key_file: Path | None = None
    """The keys that providers' keys are encrypted with; `secrets.keys` in the data folder, made at the first start.

    One per line: the first encrypts, all decrypt. What is changed there is noticed without a restart.
    """
    secrets_keys: tuple[Secret, ...] = ()
    """The same keys, written here, for replicas that share no disk; 64 hexadecimal digits each."""
    llm: Llm = field(default_factory=Llm)
    answers: Answers = Answers()
    jobs: Jobs = Jobs()
    limits: Limits = Limits()
    rag: Rag = field(default_factory=Rag)

    def _faults(self) -> Iterator[tuple[str, str]]:
        for index, key in enumerate(self.secrets_keys):
            if not _SECRETS_KEY.fullmatch(key.reveal()):
                yield f"secrets_keys[{index}]", f"must have 64 hexadecimal digits; {_HOW_TO_MAKE_A_KEY}"
        if "://" in (self.originals_uri or "") and not S3_PLACE.fullmatch(self.originals_uri or ""):
            yield "originals_uri", "must be a folder, or s3://bucket/prefix with a bucket of at least 3 characters"
        if self.jobs.concurrency == 0 and self.database.url is None:
            yield "jobs.concurrency", "must be at least 1 where there is no database.url: nobody else does the jobs"
        if self.secrets_keys and self.secrets_key_file:
            yield "secrets_keys", "cannot be given beside secrets_key_file; use one of them"

    @classmethod
    def from_file(cls, path: str | Path, *, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read a YAML file, with `${NAME}` and `LLM_BACKEND__SECTION__KEY` from the environment.

        Raises `ConfigurationError`, which lists every fault.
        """
        return _settled(tree_of_file(Path(path)), environ, source=str(path))

    @classmethod
    def from_environment(cls, *, environ: Mapping[str, str] = os.environ) -> "Settings":
        """`config.yaml` of the working directory if there is one, the defaults otherwise; then as `from_file`."""
        if DEFAULT_FILE.exists():
            return cls.from_file(DEFAULT_FILE, environ=environ)
        return _settled(Tree({}), environ, source="The configuration")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The keys and values of a file, as Python objects. `${NAME}` is taken from the environment, overrides are not.

        Raises `ConfigurationError`, which lists every fault.
        """
        return read_struct(cls, _with_defaults(tree_of_mapping(mapping)), environ, source="The configuration")

    @property
    def database_file(self) -> Path:
        """SQLite's file, where `database.url` names no server."""
        return self.sqlite.path or self.data_folder / "llm_backend.db"

    @property
    def lancedb_uri(self) -> str:
        """Where the passage index is kept."""
        return self.rag.lancedb_uri or str(self.data_folder / "lancedb")

    @property
    def models_folder(self) -> Path:
        """Where local embedding models are kept."""
        return self.rag.models_folder or self.data_folder / "models"

    @property
    def uploads_folder(self) -> Path:
        """Where files pass through on their way in, for the length of a request or of a look at them."""
        return self.data_folder / "uploads"

    @property
    def originals_folder(self) -> Path:
        """Where uploaded files are kept until they have been read, unless that is an object store."""
        return Path(self.originals_uri or self.data_folder / "originals")

    @property
    def jwt_secret_file(self) -> Path:
        """Where the signing secret is kept, if none is configured."""
        return self.data_folder / "jwt.secret"

    @property
    def key_file(self) -> Path:
        """Where the keys are kept that providers' keys are encrypted with."""
        return self.secrets_key_file or self.data_folder / "secrets.keys"

    def notices(self) -> tuple[str, ...]:
        """What was read and has no effect; worth a warning at the start."""
        ignored = {
            "rag.service_addr": (self.rag.service_addr, "documents are now handled by this server itself"),
            "sqlite.max_open_conns": (self.sqlite.max_open_conns, "connections are few and kept open"),
            "sqlite.max_idle_conns": (self.sqlite.max_idle_conns, "connections are kept open"),
            "sqlite.conn_max_lifetime": (self.sqlite.conn_max_lifetime, "connections are kept open"),
        }
        return tuple(f"{key} is ignored: {why}" for key, (value, why) in ignored.items() if value is not None)


def _settled(tree: Tree, environ: Mapping[str, str], *, source: str) -> Settings:
    tree = _with_defaults(tree)
    faults = list(overridden(tree, environ))
    return read_struct_after(faults, Settings, tree, environ, source=source)


def _with_defaults(tree: Tree) -> Tree:
    """Fill in the lists whose defaults take keys from the environment."""
    _fill_in(tree, ["llm", "providers"], DEFAULT_PROVIDERS)
    _fill_in(tree, ["rag", "embedding_models"], DEFAULT_EMBEDDING_MODELS)
    return tree


def _fill_in(tree: Tree, keys: list[str], default: object) -> None:
    """Put a default where nothing is written; what is no mapping is left for the reader to complain about."""
    if not keys:
        if tree.value is None:
            tree.value = tree_of_mapping(default).value
        return
    if tree.value is None:
        tree.value = {}
    if isinstance(tree.value, dict):
        _fill_in(tree.value.setdefault(keys[0], Tree(None)), keys[1:], default)
