"""What answers cost is known however they end."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.application.metering import IMAGE_TOKENS, Share, shares_of
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn, Completion
from llm_backend.domain.answers import CallPiece
from llm_backend.domain.conversations import Role, Seam, TokenUsage
from llm_backend.domain.errors import NothingRelevant, UpstreamCutOff, UpstreamUnavailable
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.items import FunctionCall, ImagePart, TextPart
from llm_backend.domain.usage import UsageGroup, UsageSum
from llm_backend.domain.window import estimated_tokens
from llm_backend.infrastructure.llm.fallback import FallbackChatModel
from llm_backend.infrastructure.llm.routed import Route, RoutedChatModel
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel, Step

ASKED = ChatRequest(model="first", turns=[ChatTurn(role=Role.USER, text="x" * 40)])
PROMPT = 10 + 4  # forty characters, and what a format spends on a message
COUNTED = TokenUsage(prompt=7, completion=5)


def guessed(model: str, prompt: int, completion: int) -> Share:
    return Share(model=model, tokens=TokenUsage(prompt=prompt, completion=completion), is_estimated=True)


def seam(at: int, model: str) -> Seam:
    return Seam(at=at, model=model, reason="upstream_cut_off")


def test_what_the_provider_counted_is_what_was_used() -> None:
    shares = shares_of(ASKED, "y" * 8, (), COUNTED)

    assert shares == [Share(model="first", tokens=COUNTED, is_estimated=False)]


def test_what_nobody_counted_is_estimated() -> None:
    assert shares_of(ASKED, "y" * 8) == [guessed("first", PROMPT, 2)]


def test_everybody_who_wrote_has_a_share() -> None:
    seams = [seam(8, "second"), seam(20, "third")]

    shares = shares_of(ASKED, "y" * 24, seams, COUNTED)

    assert shares == [
        guessed("first", PROMPT, 2),
        guessed("second", PROMPT + 2, 3),
        Share(model="third", tokens=COUNTED, is_estimated=False),
    ]


def test_who_wrote_nothing_has_none() -> None:
    assert shares_of(ASKED, "") == []
    assert shares_of(ASKED, "y" * 4, [seam(0, "second"), seam(4, "third")]) == [guessed("second", PROMPT, 1)]


def test_calls_of_functions_pictures_and_tools_are_estimated_as_well() -> None:
    call = FunctionCall(call_id="call_1", name="four", arguments="y" * 16)
    turns = [ChatTurn(role=Role.USER, text="x" * 40, parts=(TextPart("x" * 40), ImagePart("data:")))]
    tools = [{"type": "function"}]
    asked = ChatRequest(model="first", turns=turns, options={"tools": tools})

    assert shares_of(ASKED, "", items=[call]) == [guessed("first", PROMPT, 5)]
    assert shares_of(ASKED, "y" * 8, [seam(8, "second")], items=[call]) == [
        guessed("first", PROMPT, 2),
        guessed("second", PROMPT + 2, 5),
    ]
    assert shares_of(asked, "y" * 4) == [guessed("first", PROMPT + IMAGE_TOKENS + estimated_tokens(str(tools)), 1)]


async def used(backend: Backend, user: UserId, by: UsageGroup = UsageGroup.CONVERSATION) -> list[UsageSum]:
    return list(await backend.report_usage(user, by))


async def ended(backend: Backend, user: UserId, conversation: ConversationId, text: str = "Hi") -> None:
    answer = await backend.send_message(user, conversation, text)
    async for _ in backend.follow_answer(user, answer):
        pass


async def test_an_answer_is_accounted_for_when_it_is_done(
    backend: Backend, ada: UserId, conversation: ConversationId
) -> None:
    await ended(backend, ada, conversation)

    (of_conversation,) = await used(backend, ada)
    (of_kind,) = await used(backend, ada, UsageGroup.KIND)

    assert of_conversation.group == str(conversation)
    assert (of_conversation.prompt, of_conversation.completion, of_conversation.estimated) == (1, 1, 0)
    assert of_kind.group == "answer"


async def test_a_stopped_answer_is_accounted_for_by_what_there_is_of_it(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("eight ch", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")
    async for _ in backend.follow_answer(ada, answer):
        await backend.stop_answer(ada, conversation)

    (sum_,) = await used(backend, ada)

    assert (sum_.completion, sum_.estimated) == (2, 1)


async def test_an_answer_that_fails_is_accounted_for_if_a_word_of_it_came(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next(UpstreamUnavailable())
    await ended(backend, ada, conversation)
    model.play_next("four", UpstreamCutOff())
    await ended(backend, ada, conversation)

    (sum_,) = await used(backend, ada)

    assert (sum_.requests, sum_.completion, sum_.estimated) == (1, 1, 1)


async def test_an_answer_in_a_conversation_that_is_deleted_meanwhile_is_accounted_for(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.play_next("four", FOREVER)
    answer = await backend.send_message(ada, conversation, "Hi")
    await anext(aiter(backend.follow_answer(ada, answer)))

    await backend.delete_conversation(ada, conversation)

    (sum_,) = await used(backend, ada)
    assert (sum_.group, sum_.completion) == (str(conversation), 1)


def broken_off_for(other: ChatModel) -> ChatModel:
    others = RoutedChatModel([Route(name="other", patterns=["other"], model=other)])
    model = ScriptedChatModel("Half an ", UpstreamCutOff())
    return FallbackChatModel(model=model, fallbacks=["other"], others=others, total=timedelta(minutes=1))


async def test_an_answer_of_nothing_but_a_call_is_accounted_for(
    backend: Backend, ada: UserId, conversation: ConversationId, model: ScriptedChatModel
) -> None:
    model.completion = Completion(finish_reason="tool_calls")
    model.play_next(CallPiece("", 0, "y" * 16, "call_1", "four"))
    await ended(backend, ada, conversation)

    (sum_,) = await used(backend, ada)

    assert (sum_.requests, sum_.completion, sum_.estimated) == (1, 5, 1)


async def test_all_models_that_wrote_an_answer_are_accounted_for(settings: Settings, store: MemoryStore) -> None:
    async with open_backend(settings, store=store, chat_model=broken_off_for(ScriptedChatModel("answer"))) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
        await ended(backend, ada, conversation, "four")

        sums = await used(backend, ada, UsageGroup.MODEL)
        message = (await backend.read_history(ada, conversation)).messages[-1]

    assert [(one.group, one.prompt, one.completion, one.estimated) for one in sums] == [
        ("other", 1, 1, 0),
        ("some-model", 1 + 4, 2, 1),
    ]
    assert message.usage == TokenUsage(prompt=1 + 1 + 4, completion=1 + 2)


@pytest.mark.parametrize(("patience", "end"), [("4s", []), ("20ms", [FOREVER])])
async def test_rewriting_a_question_is_accounted_for_also_if_nobody_waits_for_its_end(
    tmp_path: Path, store: MemoryStore, patience: str, end: Sequence[Step]
) -> None:
    settings = Settings.from_mapping({"data_folder": str(tmp_path / "data"), "rag": {"rewrite_timeout": patience}})
    model = ScriptedChatModel("Hello")
    async with open_backend(settings, store=store, chat_model=model) as backend:
        ada = await backend.register_user("ada", "correct horse")
        conversation = (await backend.create_conversation(ada, "Hello", "some-model")).id
        shelf = await backend.create_knowledge_base(ada, "Shelf", "hash-1024")
        await ended(backend, ada, conversation)
        model.play_next("pancakes", *end)
        before = (await used(backend, ada))[0].requests

        with pytest.raises(NothingRelevant):
            await backend.ask_knowledge_base(ada, conversation, shelf.id, "And how?")

        assert (await used(backend, ada))[0].requests == before + 1
