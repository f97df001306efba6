"""What a program may say when it opens a backend."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llm_backend import Settings, open_backend
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.bootstrap.adapters import Ports
from llm_backend.testing.clock import CountingIds
from llm_backend.testing.scripted_chat_model import ScriptedChatModel


@pytest.mark.parametrize("wrong", ["chatmodel", "embedder", "cach"])
async def test_a_keyword_that_is_no_port_is_refused_by_its_name(settings: Settings, wrong: str) -> None:
    misspelt: Any = {wrong: ScriptedChatModel()}

    with pytest.raises(TypeError, match=f"'{wrong}'; ports are: store, .*chat_model") as refusal:
        await open_backend(settings, **misspelt).__aenter__()

    assert all(name in str(refusal.value) for name in Ports.__annotations__)
    assert not settings.data_folder.exists()


async def test_what_is_given_by_keyword_is_what_is_used(settings: Settings, model: ChatModel) -> None:
    async with open_backend(settings, chat_model=model) as backend:
        user = await backend.register_user("ada", "correct horse battery staple")

        conversation = await backend.create_conversation(user, "Hello", "whatever")

    assert conversation.model == "whatever"


async def test_an_adapter_that_looks_empty_is_used_all_the_same(settings: Settings, model: ChatModel) -> None:
    class EmptyIds(CountingIds):
        def __len__(self) -> int:
            return 0

    async with open_backend(settings, chat_model=model, ids=EmptyIds()) as backend:
        assert await backend.register_user("ada", "correct horse battery staple") < 100  # the usual ids are random


@pytest.mark.parametrize("name", ["what?", "p%20x", "a#b", "a;b", "c:d", "mode=ro&x"])
async def test_a_folder_may_have_any_name(tmp_path: Path, name: str, model: ChatModel) -> None:
    settings = Settings(data_folder=tmp_path / name)
    async with open_backend(settings, chat_model=model) as backend:
        user = await backend.register_user("ada", "correct horse battery staple")
        await backend.create_conversation(user, "Hello", "whatever")
    async with open_backend(settings, chat_model=model) as backend:
        listed = await backend.list_conversations(user)

    assert [each.title for each in listed] == ["Hello"]
    assert [each.name for each in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))] == [name]


async def _register(folder: Path) -> int:
    """In a new database; how many conversations are in it."""
    async with open_backend(Settings(data_folder=folder), chat_model=ScriptedChatModel()) as backend:
        user = await backend.register_user("ada", "correct horse battery staple")
        await backend.create_conversation(user, "Hello", "whatever")
        return len(await backend.list_conversations(user))


async def test_new_databases_can_be_made_side_by_side(tmp_path: Path) -> None:
    assert await asyncio.gather(*(_register(tmp_path / str(number)) for number in range(3))) == [1, 1, 1]


async def test_new_databases_can_be_made_by_several_threads(tmp_path: Path) -> None:
    def in_a_loop_of_its_own(number: int) -> int:
        return asyncio.run(_register(tmp_path / str(number)))

    async with asyncio.timeout(60):
        made = await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own, number) for number in range(3)))

    assert made == [1, 1, 1]


@pytest.mark.parametrize("wrong", [{"data_folder": "x"}, b"config.yaml", 7, Settings])
async def test_what_are_no_settings_is_refused_with_what_would_be(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes Settings, .* Path or str, not .*; Settings\.from_mapping"):
        await open_backend(wrong).__aenter__()
