import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.errors import (
    ApiKeyRequired,
    ConversationNotFound,
    IdempotencyMismatch,
    InvalidApiKey,
    InvalidTitle,
    UnknownModel,
)
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.scripted_chat_model import ScriptedChatModel

MALLORY = UserId(666)


async def test_conversations_are_listed_newest_first(backend: Backend, ada: UserId) -> None:
    for title in ("one", "two", "three"):
        await backend.create_conversation(ada, title, "some-model")

    titles = [summary.title for summary in await backend.list_conversations(ada)]

    assert titles == ["three", "two", "one"]
    assert await backend.list_conversations(MALLORY) == []


async def test_somebody_elses_conversation_looks_absent(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    with pytest.raises(ConversationNotFound):
        await backend.read_history(MALLORY, conversation)
    with pytest.raises(ConversationNotFound):
        await backend.delete_conversation(MALLORY, conversation)

    assert (await backend.read_history(ada, conversation)).conversation.title == "Hello"


async def test_a_key_of_ones_own_reaches_the_model_and_nothing_else(
    backend: Backend, ada: UserId, model: ScriptedChatModel
) -> None:
    created = await backend.create_conversation(ada, "Hello", "some-model", Secret("sk-own"))

    await backend.send_message(ada, created.id, "Hi")

    request = await model.asked()
    assert request.api_key == Secret("sk-own")
    assert b"sk-own" not in (created.api_key.sealed if created.api_key else b"")
    assert "sk-own" not in repr(await backend.read_history(ada, created.id))


@pytest.mark.parametrize("title", ["", "   ", "x" * 256, "a\x00b"])
async def test_an_odd_title_is_refused(backend: Backend, ada: UserId, title: str) -> None:
    with pytest.raises(InvalidTitle):
        await backend.create_conversation(ada, title, "some-model")


@pytest.mark.parametrize("key", ["", "two words", "sk-ключ", "a\r\nb", "x" * 513])
async def test_a_key_that_no_header_could_carry_is_refused(backend: Backend, ada: UserId, key: str) -> None:
    with pytest.raises(InvalidApiKey):
        await backend.create_conversation(ada, "Hello", "some-model", Secret(key))


async def test_a_model_nobody_serves_or_without_any_key_is_refused_at_once(
    settings: Settings, store: MemoryStore
) -> None:
    model = ScriptedChatModel(models={"served"}, key_required=True)
    async with open_backend(settings, store=store, chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")

        with pytest.raises(UnknownModel):
            await backend.create_conversation(ada, "Hello", "unknown")
        with pytest.raises(ApiKeyRequired):
            await backend.create_conversation(ada, "Hello", "served")
        own = await backend.create_conversation(ada, "Hello", "served", Secret("sk-own"))
        assert own.model == "served"


async def test_the_same_key_makes_one_conversation(backend: Backend, ada: UserId) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")

    first = await backend.create_conversation(ada, "Hello", "some-model", idempotency=key)
    second = await backend.create_conversation(ada, "Hello", "some-model", idempotency=key)

    assert second.id == first.id
    assert len(await backend.list_conversations(ada)) == 1
    with pytest.raises(IdempotencyMismatch):
        await backend.create_conversation(
            ada, "Other", "some-model", idempotency=IdempotencyKey(key="k", fingerprint="other")
        )
