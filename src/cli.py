"""The command `llm-backend`. What is heavy is imported inside the commands, so that `--help` answers at once."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from llm_backend.config import ConfigurationError, Fault, Provider, Settings
from llm_backend.config.trees import without_overrides
from llm_backend.config.values import read_count, read_port
from llm_backend.domain.errors import DomainError
from llm_backend.sparing import hidden

ValueT = TypeVar("ValueT")

DONE, FAILED, WRONG_CONFIGURATION = 0, 1, 2
EXAMPLES = """\
examples:
  llm-backend serve                               serve on 127.0.0.1:8080, with everything in ./data
  llm-backend serve --config my.yaml --port 9000
  llm-backend config check                        list everything that is wrong with ./config.yaml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the status is 0 when done, 1 after a failure, 2 for wrong use or a wrong configuration."""
    given = _parser().parse_args(arguments)
    try:
        status = given.run(given)
    except ConfigurationError as error:
        return _complain(error, WRONG_CONFIGURATION)
    except (DomainError, OSError) as error:
        return _complain(error, FAILED)
    return DONE if status is None else int(status)


def _serve(given: argparse.Namespace) -> None:
    settings = _settings(given)
    _import_sparingly()
    from llm_backend import bootstrap

    bootstrap.serve(settings)


def _import_sparingly() -> None:
    """HTTPX and structlog bring colours and lexers along where they find them, which nobody needs here: 9 MiB."""
    with hidden("click", "rich"):
        import_module("httpx")
        import_module("structlog")


def _work(given: argparse.Namespace) -> None:
    settings = _settings(given)
    if given.concurrency is not None:
        settings = replace(settings, jobs=replace(settings.jobs, concurrency=given.concurrency))
    _import_sparingly()
    from llm_backend import bootstrap

    bootstrap.work(settings)


def _migrate(given: argparse.Namespace) -> int:
    settings = _settings(given)
    from llm_backend import bootstrap

    if given.check:
        _refuse_file_as_folder(settings)
        return DONE if bootstrap.check_migrations(settings) else FAILED
    bootstrap.migrate(settings)
    return DONE


def _reindex(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.reindex(settings, anew=given.anew)


def _rotate_keys(given: argparse.Namespace) -> None:
    if given.now and not given.drop_old:
        given.misused("--now goes with --drop-old: alone it would make a new key")
    if given.tokens and given.seal_only:
        given.misused("--tokens and --seal-only exclude each other: no secret is sealed with the key of tokens")
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.rotate_keys(
        settings, tokens=given.tokens, seal_only=given.seal_only, drop_old=given.drop_old, at_once=given.now
    )


def _migrate_store(given: argparse.Namespace) -> None:
    source, target = _settings_of(given.source), _settings_of(given.target)
    from llm_backend import bootstrap

    bootstrap.migrate_store(source, target)


def _settings_of(file: Path) -> Settings:
    """The file alone: what goes over a configuration from outside would go over both, and make them the same."""
    return Settings.from_file(file, environ=without_overrides(os.environ))


def _backup(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.backup(settings, given.to, with_keys=given.with_keys)


def _restore(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.restore(settings, given.archive)


def _create_key(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.create_key(settings, given.user, given.name, scopes=given.scopes, days=given.days)


def _list_keys(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.list_keys(settings, given.user)


def _delete_key(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.delete_key(settings, given.user, given.key)


def _import_old(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.import_old(settings, given.sqlite, given.redis, dry_run=given.dry_run)


def _pull_model(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.pull_model(settings, given.name)


def _list_models(given: argparse.Namespace) -> None:
    settings = _settings(given)
    from llm_backend import bootstrap

    bootstrap.list_models(settings)


def _evaluate(given: argparse.Namespace) -> None:
    named = [(given.config.name if given.config else "default", _settings(given))]
    if given.against:
        named.append((given.against.name, Settings.from_file(given.against)))
    from llm_backend import bootstrap

    bootstrap.evaluate_retrieval(given.folder, named, words_only=given.words_only, plot=given.plot, json=given.json)


def _check(given: argparse.Namespace) -> None:
    settings = _settings(given)
    _refuse_file_as_folder(settings)
    print("The configuration is fine.")
    database = f"PostgreSQL at {settings.database.place}" if settings.database.url else settings.database_file
    print(f"  database   {database}")
    print(f"  redis      {settings.redis.place or 'none: one process, nothing shared'}")
    for provider in settings.llm.providers:
        print(f"  provider   {provider.name}: {', '.join(provider.models)} ({_key_of(provider)})")


def _key_of(provider: Provider) -> str:
    if provider.kind == "demo" or not provider.needs_key:
        return "needs no key"
    return "has a key" if provider.api_key else "has no key: each conversation brings its own"


def _settings(given: argparse.Namespace) -> Settings:
    """The file that was named, or what is found; the options of the command go before both."""
    settings = Settings.from_file(given.config) if given.config else Settings.from_environment()
    for notice in settings.notices():
        print(f"warning: {notice}", file=sys.stderr)
    named = {key: value for key in ("host", "port") if (value := getattr(given, key, None)) is not None}
    return replace(settings, server=replace(settings.server, **named)) if named else settings


def _refuse_file_as_folder(settings: Settings) -> None:
    """For commands that only look: others notice when they make it. Raises `ConfigurationError`."""
    folder = settings.data_folder.absolute()
    with suppress(PermissionError):  # of somebody else, who alone can tell
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise ConfigurationError([Fault(path="data_folder", message=f"must be a folder, and {there} is a file")])


def _complain(error: Exception, status: int) -> int:
    print(f"llm-backend: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-backend",
        description="A backend for chatting with language models and with your own documents.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    configured = _configured()

    serve = commands.add_parser("serve", parents=[configured], help="serve the API over HTTP")
    serve.add_argument("--host", type=_told(_host), help="address to listen on, in place of server.host")
    serve.add_argument(
        "--port", type=_told(read_port), help="port to listen on, in place of server.port; 0 takes a free one"
    )
    serve.set_defaults(run=_serve)

    worker = commands.add_parser(
        "worker", parents=[configured], help="do the jobs of servers that share a PostgreSQL, without HTTP"
    )
    worker.add_argument(
        "--concurrency", type=_told(read_count), metavar="N", help="jobs at a time, in place of jobs.concurrency"
    )
    worker.set_defaults(run=_work)

    migrate = commands.add_parser("migrate", parents=[configured], help="bring the database to the current schema")
    migrate.add_argument(
        "--check", action="store_true", help="change nothing; list what is pending, with status 1 if there is anything"
    )
    migrate.set_defaults(run=_migrate)
    reindex = commands.add_parser(
        "reindex", parents=[configured], help="put back into the passage index what it lacks, from the database"
    )
    reindex.add_argument("--anew", action="store_true", help="build all of it again, also what looks well")
    reindex.set_defaults(run=_reindex)

    rotate = commands.add_parser(
        "rotate-keys", parents=[configured], help="make a new key and seal all secrets with it, while servers run"
    )
    rotate.add_argument("--tokens", action="store_true", help="the key that signs tokens, instead")
    _add_ways_to_rotate(rotate)
    rotate.set_defaults(run=_rotate_keys, misused=rotate.error)

    _add_models(commands.add_parser, configured)
    _add_moves(commands.add_parser, configured)
    _add_keys(commands.add_parser, configured)
    _add_evaluations(commands.add_parser("eval", help="measure how well things are found"), configured)
    config = commands.add_parser("config", help="look at the configuration")
    looks = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = looks.add_parser("check", parents=[configured], help="list everything that is wrong with it")
    check.set_defaults(run=_check)
    return parser


def _add_models(add: Callable[..., argparse.ArgumentParser], configured: argparse.ArgumentParser) -> None:
    models = add("models", help="look at embedding models, and download local ones")
    ways = models.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pull = ways.add_parser("pull", parents=[configured], help="download a local embedding model that is configured")
    pull.add_argument("name", metavar="NAME", help="its name in rag.embedding_models")
    pull.set_defaults(run=_pull_model)
    list_ = ways.add_parser("list", parents=[configured], help="say of each where it runs, and whether it is there")
    list_.set_defaults(run=_list_models)


def _add_moves(add: Callable[..., argparse.ArgumentParser], configured: argparse.ArgumentParser) -> None:
    move = add("migrate-store", help="copy everything into another store, such as from SQLite to PostgreSQL")
    for option, name, what in (("--from", "source", "is"), ("--to", "target", "goes")):
        move.add_argument(
            option,
            dest=name,
            type=Path,
            metavar="FILE",
            required=True,
            help=f"the configuration of where everything {what}",
        )
    move.set_defaults(run=_migrate_store)
    backup = add("backup", parents=[configured], help="save everything in one file, while servers run")
    backup.add_argument("--to", type=Path, metavar="FILE", required=True, help="a new file, or the folder for one")
    backup.add_argument("--with-keys", action="store_true", help="also what opens the API keys that are stored")
    backup.set_defaults(run=_backup)
    restore = add("restore", parents=[configured], help="bring what was saved into an empty store")
    restore.add_argument(
        "--from", dest="archive", type=Path, metavar="FILE", required=True, help="what backup has made"
    )
    restore.set_defaults(run=_restore)
    old = add("import-old", parents=[configured], help="take over users and conversations of the old product")
    old.add_argument("--sqlite", type=Path, metavar="FILE", required=True, help="its database")
    old.add_argument("--redis", metavar="HOST:PORT", required=True, help="its Redis, or redis://:PASSWORD@HOST:PORT/DB")
    old.add_argument("--dry-run", action="store_true", help="change nothing; count, and list what makes no sense")
    old.set_defaults(run=_import_old)


def _add_keys(add: Callable[..., argparse.ArgumentParser], configured: argparse.ArgumentParser) -> None:
    keys = add("keys", help="API keys of a user: create, list, delete")
    deeds = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    of_user = argparse.ArgumentParser(add_help=False, parents=[configured])
    of_user.add_argument("--user", metavar="NAME", required=True, help="whose keys")
    create = deeds.add_parser("create", parents=[of_user], help="make a key; it is printed once, and never again")
    create.add_argument("--name", required=True, help="what the key is called")
    create.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        default=[],
        metavar="SCOPE",
        help="chat, embeddings, files, read-only",
    )
    create.add_argument("--days", type=int, metavar="N", help="for how long it is good; for ever, if nothing is said")
    create.set_defaults(run=_create_key)
    listing = deeds.add_parser("list", parents=[of_user], help="list the keys of a user, newest first")
    listing.set_defaults(run=_list_keys)
    delete = deeds.add_parser("delete", parents=[of_user], help="kill a key, for good and everywhere")
    delete.add_argument("key", metavar="KEY_ID", help="as the list names it")
    delete.set_defaults(run=_delete_key)


def _add_evaluations(evaluate: argparse.ArgumentParser, configured: argparse.ArgumentParser) -> None:
    kinds = evaluate.add_subparsers(title="commands", metavar="COMMAND", required=True)
    retrieval = kinds.add_parser(
        "retrieval",
        parents=[configured],
        help="upload a collection, ask its questions, and compare what is found with what is relevant",
        description="Everything happens in a temporary folder; only models are taken from the configuration.",
    )
    retrieval.add_argument(
        "folder", type=Path, metavar="FOLDER", help="with corpus.jsonl, queries.jsonl and qrels.tsv, as in BEIR"
    )
    retrieval.add_argument("--against", type=Path, metavar="FILE", help="another configuration to compare with")
    retrieval.add_argument(
        "--words-only",
        action="store_true",
        help="search by words alone, as when the embedding model of questions is away; not in the one to compare with",
    )
    retrieval.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures as SVG")
    retrieval.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and those of each question")
    retrieval.set_defaults(run=_evaluate)


def _add_ways_to_rotate(rotate: argparse.ArgumentParser) -> None:
    way = rotate.add_mutually_exclusive_group()
    way.add_argument("--seal-only", action="store_true", help="make no new key: seal with the newest there is")
    way.add_argument("--drop-old", action="store_true", help="make no new key: forget those that nothing needs")
    rotate.add_argument("--now", action="store_true", help="with --drop-old: at once, whoever may be about to need one")


def _configured() -> argparse.ArgumentParser:
    """The option that all commands have."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration; ./config.yaml, if there is one and none is named",
    )
    return parser


def _host(text: str) -> str:
    if not text.strip():  # a variable that is not set, which would be every address there is
        raise ValueError("must name an address, such as 127.0.0.1")
    return text


def _told(read: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """The same with its own message, in place of that of argparse."""

    def reading(text: str) -> ValueT:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reading


class _Version(argparse.Action):
    """Reading the version opens files, so it is read only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from llm_backend import __version__

        print(f"llm-backend {__version__}")
        parser.exit()
