"""What a program may say when it opens a backend."""

from typing import Any

import pytest

from llm_backend import Settings, open_backend
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.bootstrap.adapters import Ports
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


@pytest.mark.parametrize("wrong", [{"data_folder": "x"}, b"config.yaml", 7, Settings])
async def test_what_are_no_settings_is_refused_with_what_would_be(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"takes Settings, .* Path or str, not .*; Settings\.from_mapping"):
        await open_backend(wrong).__aenter__()
