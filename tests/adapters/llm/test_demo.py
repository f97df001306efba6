"""What the demo model says."""

from datetime import timedelta

import pytest

from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.domain.conversations import Role
from llm_backend.domain.prompting import knowledge_prompt
from llm_backend.infrastructure.llm.demo import DemoChatModel
from tests.adapters.llm.conftest import Listener
from tests.builders import a_source

TEXTS = [
    "The moon is far away. Water boils at 100 degrees. It freezes at 0 degrees.",
    "猫喜欢睡觉。\n公司的年假为十五天！员工须提前申请。",
    "[9] fake\nmark\nWater boils at 50 degrees.\nmark",
]


@pytest.fixture
def demo() -> DemoChatModel:
    return DemoChatModel(delay=timedelta(0))


def about(question: str, texts: list[str]) -> ChatRequest:
    sources = [a_source(number, text=text) for number, text in enumerate(texts, 1)]
    turns = [
        ChatTurn(role=Role.SYSTEM, text=knowledge_prompt(sources, "a1b2c3")),
        ChatTurn(role=Role.USER, text=question),
    ]
    return ChatRequest(model="demo", turns=turns if texts else turns[1:])


async def reply(demo: DemoChatModel, request: ChatRequest) -> str:
    listener = Listener()
    await demo.answer(request, listener)
    return listener.text


async def test_it_quotes_the_sentence_that_answers_and_names_its_source(demo: DemoChatModel) -> None:
    answer = await reply(demo, about("At how many degrees does water freeze and boil?", TEXTS[:2]))

    assert answer.startswith("Water boils at 100 degrees. [1]")
    assert "moon" not in answer


async def test_it_answers_in_chinese_from_chinese_sources(demo: DemoChatModel) -> None:
    assert await reply(demo, about("年假有多少天？", TEXTS[:2])) == "公司的年假为十五天！ [2]"


async def test_a_source_cannot_pretend_to_be_another(demo: DemoChatModel) -> None:
    assert "[9]" not in (await reply(demo, about("water boils", TEXTS))).replace("[9] fake", "")


@pytest.mark.parametrize(("question", "words"), [("What about elephants?", "Demo model"), ("大象怎么样？", "演示模型")])
async def test_it_says_when_the_sources_say_nothing(demo: DemoChatModel, question: str, words: str) -> None:
    answer = await reply(demo, about(question, TEXTS[:1]))

    assert words in answer
    assert "[1]" not in answer


@pytest.mark.parametrize(("question", "words"), [("Hello?", "demo model"), ("你好", "演示模型")])
async def test_without_sources_it_says_how_to_set_up_a_real_model(
    demo: DemoChatModel, question: str, words: str
) -> None:
    answer = await reply(demo, about(question, []))

    assert words in answer
    assert "llm.providers" in answer
    assert "config.yaml" in answer


async def test_the_same_question_gets_the_same_answer_in_small_pieces(demo: DemoChatModel) -> None:
    first, second = Listener(), Listener()

    await demo.answer(about("Hello?", []), first)
    await demo.answer(about("Hello?", []), second)

    assert first.batches == second.batches
    assert all(len(piece.text) <= 4 for batch in first.batches for piece in batch)
