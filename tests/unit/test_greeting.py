"""The lines that a server starts with say where things are."""

from pathlib import Path

import pytest

from llm_backend.bootstrap.greeting import greeting
from llm_backend.config import Settings

URL = "http://127.0.0.1:8080"
POSTGRESQL = {"url": "postgresql+asyncpg://someone:hidden@db.example.org/llm_backend"}


def profile_of(**settings: object) -> str:
    """The line that says it, without its name."""
    read = Settings.from_mapping({"data_folder": "data", **settings})
    (line,) = [line for line in greeting(read, URL).splitlines() if line.startswith("  profile ")]
    return line.removeprefix("  profile").strip()


def test_all_is_in_the_data_folder_unless_it_has_another_place() -> None:
    assert profile_of() == "embedded: everything in data"
    assert profile_of(sqlite={"path": "./data/own.db"}, originals_uri="data/files") == "embedded: everything in data"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sqlite": {"path": "other/old.db"}}, "embedded: database in other/old.db, the rest in data"),
        ({"originals_uri": "s3://b-1/o"}, "embedded: originals in s3://b-1/o, the rest in data"),
        ({"rag": {"lancedb_uri": "index"}}, "embedded: passages in index, the rest in data"),
        ({"secrets_key_file": "safe/keys"}, "embedded: keys in safe/keys, the rest in data"),
    ],
)
def test_what_lies_elsewhere_is_named(settings: dict[str, object], said: str) -> None:
    if "originals_uri" in settings:
        settings = {**settings, "object_storage": {"endpoint": "https://s3.example.org"}}

    assert profile_of(**settings) == said


def test_of_servers_the_place_is_named_and_no_secret() -> None:
    said = profile_of(database=POSTGRESQL, redis={"address": "localhost:6379"}, sqlite={"path": "unused.db"})

    assert said.startswith("scaled: PostgreSQL at db.example.org")
    assert said.endswith(", the rest in data, Redis at localhost:6379")
    assert "hidden" not in said


def test_the_address_comes_first_and_the_page_last() -> None:
    first, *_, last = greeting(Settings(data_folder=Path("data")), URL).splitlines()

    assert first.endswith(f"listens on {URL}")
    assert f"{URL}/docs" in last
