"""What of items a model is told, and what is left out when it does not fit."""

from llm_backend.application.composing_responses import SUMMARY, shortened, turns_of
from llm_backend.application.ports.chat_model import ChatTurn
from llm_backend.domain.conversations import Message, Role
from llm_backend.domain.items import FunctionCall, FunctionResult, Item, Removed, Said, Speaker, Summary
from llm_backend.testing.builders import NOON, a_message, a_reply


def a_call(name: str) -> FunctionCall:
    return FunctionCall(call_id=name, name=name, arguments="{}")


def a_result(name: str) -> FunctionResult:
    return FunctionResult(call_id=name, output=f"result of {name}")


def of(*items: Item) -> Message:
    return Message(number=1, role=Role.USER, text="", items=items, created_at=NOON)


def test_messages_of_text_alone_are_turns() -> None:
    assert turns_of([a_message(1, "Hello"), a_reply(2, "Hi"), a_message(3, "")]) == [
        ChatTurn(role=Role.USER, text="Hello"),
        ChatTurn(role=Role.ASSISTANT, text="Hi"),
    ]


def test_calls_go_with_what_the_model_said_before_them() -> None:
    turns = turns_of(
        [of(Said.plain(Speaker.ASSISTANT, "Let me see"), a_call("a"), a_call("b"), a_result("a"), a_result("b"))]
    )

    assert [(turn.text, [call.name for call in turn.calls], turn.result_of) for turn in turns] == [
        ("Let me see", ["a", "b"], None),
        ("result of a", [], "a"),
        ("result of b", [], "b"),
    ]


def test_neither_a_call_nor_a_result_is_told_alone() -> None:
    assert turns_of([of(a_call("a"), a_result("b"), Removed())]) == []


def test_a_summary_stands_for_all_before_it() -> None:
    turns = turns_of([a_message(1, "Old"), of(Summary("They talked")), a_message(3, "New")])

    assert [turn.text for turn in turns] == [SUMMARY + "They talked", "New"]


def test_the_oldest_turns_go_first_and_results_with_their_calls() -> None:
    turns = [
        ChatTurn(role=Role.SYSTEM, text="Be brief"),
        *turns_of([a_message(1, "x" * 400), of(a_call("a"), a_result("a")), a_reply(3, "y" * 40), a_message(4, "New")]),
    ]

    assert [turn.text for turn in shortened(turns, 1000)] == [turn.text for turn in turns]
    assert [turn.text for turn in shortened(turns, 80)] == ["Be brief", "New"]
    assert [turn.text for turn in shortened(turns, 1)] == ["Be brief", "New"]
