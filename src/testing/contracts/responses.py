"""What every adapter of `Responses` and `ResponseViews` keeps, and of the items of conversations."""

from collections.abc import Sequence

import pytest

from llm_backend.application.ports.answer_journal import Part, Turn
from llm_backend.domain.answers import AnswerState, CallPiece, Delta, Done, FullText
from llm_backend.domain.conversations import Conversation, Message, TokenUsage
from llm_backend.domain.errors import (
    AnswerInProgress,
    ConversationNotFound,
    IdempotencyMismatch,
    ResponseNotFound,
)
from llm_backend.domain.ids import AnswerId, ConversationId, FileId
from llm_backend.domain.items import (
    FilePart,
    FunctionCall,
    FunctionResult,
    ImagePart,
    Item,
    Removed,
    Said,
    Speaker,
    Summary,
    TextPart,
)
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.responses import Response, ResponseRequest
from llm_backend.testing.builders import (
    NOON,
    a_conversation,
    a_key,
    a_message,
    a_reply,
    a_source,
    a_turn,
    a_user,
    an_answer,
)
from llm_backend.testing.contracts.store import ALICE, BOB, ODD_TEXTS, Store, given

ITEMS: tuple[Item, ...] = (
    Said(speaker=Speaker.DEVELOPER, parts=(TextPart("Be brief"),)),
    Said(speaker=Speaker.USER, parts=(TextPart("看"), ImagePart("data:image/png;base64,AA==", "low"), ImagePart("u"))),
    FunctionCall(call_id="call_1", name="weather", arguments='{"city": "Köln"}'),
    FunctionResult(call_id="call_1", output="☀"),
    Said(
        speaker=Speaker.USER,
        parts=(
            FilePart(name="合同.pdf", url="data:application/pdf;base64,AA==", text="不可抗力 is …", mark="m"),
            FilePart(name="b.txt", file=FileId("f"), text="B", mark="n"),
        ),
    ),
    FunctionResult(call_id="call_2", output="see", parts=(TextPart("see"), FilePart(name="c", text="C", mark="o"))),
    Summary("They talked"),
    Removed(),
)
REQUEST = ResponseRequest(
    model="gpt-x",
    instructions="Be kind",
    previous=AnswerId(99),
    background=True,
    searched=("what", "who"),
    options={"temperature": 0.5, "tools": [{"type": "function"}]},
    shown={"metadata": {"a": "b"}, "temperature": 0.5},
)


def a_response_turn(
    answer: int,
    *,
    previous: int | None = None,
    conversation: int | None = None,
    request: ResponseRequest | None = None,
    items: Sequence[Item] = (),
    owner: int = 1,
    **more: object,
) -> Turn:
    """A turn in a conversation of its own, which has the answer's number plus 1000, or in the one that is named."""
    turn = a_turn(answer, conversation=conversation or answer + 1000, owner=owner, **more)  # type: ignore[arg-type]
    wanted = request or ResponseRequest(model="m", previous=None if previous is None else AnswerId(previous))
    own = None if conversation else unlisted(answer + 1000, owner)
    question = Message(
        number=turn.question.number,
        role=turn.question.role,
        text=turn.question.text,
        items=tuple(items),
        created_at=turn.question.created_at,
    )
    return Turn(
        question=question,
        answer=turn.answer,
        started_at=turn.started_at,
        idempotency=turn.idempotency,
        grounding=turn.grounding,
        response=wanted,
        opens=own,
    )


def unlisted(number: int, owner: int = 1) -> Conversation:
    conversation = a_conversation(number, owner=owner)
    conversation.listed = False
    return conversation


async def ended(store: Store, answer: int, text: str = "Hi") -> None:
    await store.journal.finish(AnswerId(answer), 1, [Delta(text), Done(), FullText(text)], a_reply(2, text))


class ResponsesContract:
    """Responses are found whole, with all that they build upon, and only by their owners. Needs the fixture `store`."""

    async def test_a_response_is_found_while_it_runs_and_when_it_has_ended(self, store: Store) -> None:
        await given(store, a_user(1))
        turn = a_response_turn(100, request=REQUEST, items=ITEMS)

        assert await store.journal.begin(turn) == AnswerId(100)
        running = await store.response_views.find(ALICE, AnswerId(100))
        reply = a_reply(2, "Hi", usage=TokenUsage(prompt=1, completion=2, cached=1, reasoning=2))
        await store.journal.finish(AnswerId(100), 1, [Delta("Hi")], reply)
        finished = await store.response_views.find(ALICE, AnswerId(100))

        assert running == Response(
            answer=turn.answer, request=REQUEST, in_conversation=False, question=turn.question, reply=None,
            started_at=NOON,
        )  # fmt: skip
        assert finished.reply == reply
        assert finished.answer.state is AnswerState.COMPLETE

    async def test_what_it_rests_on_is_found_with_it(self, store: Store) -> None:
        await given(store, a_user(1))
        turn = a_response_turn(100)
        grounding = Grounding(instructions="secret", sources=(a_source(1), a_source(2)))

        await store.journal.begin(
            Turn(
                question=turn.question,
                answer=turn.answer,
                started_at=NOON,
                grounding=grounding,
                response=turn.response,
                opens=turn.opens,
            )
        )

        assert list((await store.response_views.find(ALICE, AnswerId(100))).sources) == list(grounding.sources)

    async def test_items_of_every_kind_come_back_whole(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.journal.begin(a_response_turn(100, items=ITEMS))
        call = FunctionCall(call_id="c", name="f", arguments="{}")
        reply = Message(number=2, role=a_reply().role, text="", items=(call,), created_at=NOON)

        await store.journal.finish(AnswerId(100), 1, [CallPiece("", 0, "{}", "c", "f"), FullText("")], reply)

        found = await store.response_views.find(ALICE, AnswerId(100))
        assert found.question.items == ITEMS
        assert found.reply == reply

    async def test_somebody_elses_looks_absent(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))
        await store.journal.begin(a_response_turn(100))

        for owner, number in ((BOB, 100), (ALICE, 101)):
            with pytest.raises(ResponseNotFound):
                await store.response_views.find(owner, AnswerId(number))
            with pytest.raises(ResponseNotFound):
                await store.response_views.lineage(owner, AnswerId(number), limit=10)
            with pytest.raises(ResponseNotFound):
                async with store.transactions() as work:
                    await work.responses.remove(owner, AnswerId(number))

    async def test_an_answer_that_is_no_response_is_not_found(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_turn(100))

        with pytest.raises(ResponseNotFound):
            await store.response_views.find(ALICE, AnswerId(100))

    async def test_its_own_conversation_is_not_listed_and_goes_with_it(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_response_turn(100))
        await ended(store, 100)

        listed = await store.conversation_views.summaries(ALICE)
        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        assert [line.id for line in listed] == [10]
        with pytest.raises(ResponseNotFound):
            await store.response_views.find(ALICE, AnswerId(100))
        with pytest.raises(ConversationNotFound):
            await store.conversation_views.thread(ALICE, ConversationId(1100))

    async def test_its_own_conversation_is_nobodys_to_reach(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.journal.begin(a_response_turn(100))
        own = ConversationId(1100)

        with pytest.raises(ConversationNotFound):
            await store.conversation_views.thread(ALICE, own)
        with pytest.raises(ConversationNotFound):
            await store.journal.latest(ALICE, own)
        async with store.transactions() as work:
            with pytest.raises(ConversationNotFound):
                await work.conversations.get(ALICE, own)
            with pytest.raises(ConversationNotFound):
                await work.conversations.remove(ALICE, own)
            with pytest.raises(ConversationNotFound):
                await work.conversations.describe(unlisted(1100))
            await work.commit()

        assert len((await store.conversation_views.thread(ALICE, own, unlisted=True)).messages) == 1

    async def test_the_key_of_its_request_goes_with_it(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.journal.begin(a_response_turn(100, idempotency=a_key()))

        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        assert await store.journal.answer_for(ALICE, a_key()) is None

    async def test_one_in_a_conversation_leaves_what_was_said_there(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_response_turn(100, conversation=10))
        await ended(store, 100)

        found = await store.response_views.find(ALICE, AnswerId(100))
        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        assert found.in_conversation
        assert len((await store.conversation_views.thread(ALICE, ConversationId(10))).messages) == 2
        assert await store.journal.find(ALICE, AnswerId(100)) == an_answer(100, state=AnswerState.COMPLETE)

    async def test_a_withdrawn_one_leaves_nothing(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.journal.begin(a_response_turn(100, idempotency=a_key()))

        await store.journal.withdraw(AnswerId(100))

        with pytest.raises(ConversationNotFound):
            await store.conversation_views.thread(ALICE, ConversationId(1100))
        assert await store.journal.answer_for(ALICE, a_key()) is None
        assert not await store.leases.open_answers()

    async def test_a_repeated_request_opens_nothing_new(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.journal.begin(a_response_turn(100, idempotency=a_key()))

        again = await store.journal.begin(a_response_turn(101, idempotency=a_key()))

        assert again == AnswerId(100)
        with pytest.raises(ConversationNotFound):
            await store.conversation_views.thread(ALICE, ConversationId(1101))
        with pytest.raises(IdempotencyMismatch):
            await store.journal.begin(a_response_turn(102, idempotency=a_key(fingerprint="other")))

    async def test_a_lineage_is_told_from_its_oldest_on_and_branches_share_it(self, store: Store) -> None:
        await given(store, a_user(1))
        for answer, previous in ((100, None), (101, 100), (102, 101), (103, 101)):
            await store.journal.begin(a_response_turn(answer, previous=previous))
            await ended(store, answer, f"reply {answer}")

        lineages = [
            [one.answer.id for one in await store.response_views.lineage(ALICE, AnswerId(answer), limit=10)]
            for answer in (100, 102, 103)
        ]
        newest = await store.response_views.lineage(ALICE, AnswerId(102), limit=2)

        assert lineages == [[100], [100, 101, 102], [100, 101, 103]]
        assert [one.reply and one.reply.text for one in newest] == ["reply 101", "reply 102"]

    async def test_a_lineage_ends_at_what_was_deleted(self, store: Store) -> None:
        await given(store, a_user(1))
        for answer, previous in ((100, None), (101, 100), (102, 101)):
            await store.journal.begin(a_response_turn(answer, previous=previous))
            await ended(store, answer)

        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        found = await store.response_views.lineage(ALICE, AnswerId(102), limit=10)
        assert [one.answer.id for one in found] == [101, 102]
        assert found[0].request.previous == 100

    async def test_the_events_of_responses_are_forgotten_like_those_of_answers(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_response_turn(100))
        await ended(store, 100)

        assert await store.journal.forget_events_before(NOON.replace(year=2030)) == 1

        assert not await store.journal.events(AnswerId(100))
        assert (await store.response_views.find(ALICE, AnswerId(100))).reply is not None

    @pytest.mark.parametrize("conversation", [None, 10])
    async def test_the_events_of_a_removed_response_go_at_once(self, store: Store, conversation: int | None) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_response_turn(100, conversation=conversation))
        await ended(store, 100)

        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        assert not await store.journal.events(AnswerId(100))

    async def test_a_removed_response_that_is_still_written_in_a_conversation_keeps_them(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_response_turn(100, conversation=10))
        await store.journal.checkpoint([Part(AnswerId(100), 1, [Delta("a")])])

        async with store.transactions() as work:
            await work.responses.remove(ALICE, AnswerId(100))
            await work.commit()

        assert await store.journal.events(AnswerId(100)) == [(1, Delta("a"))]


class ConversationItemsContract:
    """Conversations can be described, added to and taken from. Needs the fixture `store`."""

    async def test_metadata_are_kept(self, store: Store) -> None:
        conversation = a_conversation(10)
        conversation.metadata = {"topic": "demo", "ä": "ö"}
        await given(store, a_user(1), conversation)

        first = (await store.conversation_views.thread(ALICE, ConversationId(10))).conversation
        conversation.metadata = {}
        async with store.transactions() as work:
            await work.conversations.describe(conversation)
            await work.commit()

        assert first.metadata == {"topic": "demo", "ä": "ö"}
        assert (await store.conversation_views.thread(ALICE, ConversationId(10))).conversation.metadata == {}

    async def test_nobody_describes_somebody_elses(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10))

        with pytest.raises(ConversationNotFound):
            async with store.transactions() as work:
                await work.conversations.describe(a_conversation(10, owner=2))

    @pytest.mark.parametrize("text", ODD_TEXTS)
    async def test_messages_are_appended_and_rewritten(self, store: Store, text: str) -> None:
        await given(store, a_user(1), a_conversation(10))
        conversation = a_conversation(10, last_number=2)

        async with store.transactions() as work:
            await work.conversations.append(conversation, [a_message(1, text), a_reply(2, text)])
            found = [await work.conversations.message(conversation, number) for number in (2, 3)]
            await work.conversations.rewrite(conversation, a_reply(2, text + "!"))
            await work.commit()

        thread = await store.conversation_views.thread(ALICE, ConversationId(10))
        assert found == [a_reply(2, text), None]
        assert thread.conversation.last_number == 2
        assert list(thread.messages) == [a_message(1, text), a_reply(2, text + "!")]

    async def test_nothing_is_appended_while_an_answer_is_written_or_out_of_turn(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10), a_conversation(20))
        await store.journal.begin(a_turn(100))

        for conversation in (a_conversation(10, last_number=2), a_conversation(20, last_number=2)):
            with pytest.raises(AnswerInProgress):
                async with store.transactions() as work:
                    await work.conversations.append(conversation, [a_message(2)])

    async def test_a_question_follows_what_was_appended(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        async with store.transactions() as work:
            await work.conversations.append(a_conversation(10, last_number=1), [a_message(1)])
            await work.commit()

        await store.journal.begin(a_turn(100, question=2))
        await store.journal.withdraw(AnswerId(100))

        thread = await store.conversation_views.thread(ALICE, ConversationId(10))
        assert (thread.conversation.last_number, len(thread.messages)) == (1, 1)
