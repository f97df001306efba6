"""What of a continuation is new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.continuation import LEAST_VARIETY, LONGEST_OVERLAP, SHORTEST_RESTART, Continuation

SENTENCE = "The quick brown fox jumps over the lazy dog. "
LONG = "".join(f"{number}. {SENTENCE}" for number in range(400))
CODE = "Like this:\n\n```python\ndef main() -> None:\n    print('Hel"

words = st.sampled_from(["a", "b", " ", "\n", "the ", "fox ", "```", "人工", "智能", "界", "- x\n", "0", ",000"])
# Few words, so that they meet again; and any text there is.
texts = st.lists(words, max_size=40).map("".join) | st.text(max_size=200)
sizes = st.lists(st.integers(1, 30), max_size=30)


def new(so_far: str, continuation: str, sizes: list[int] | None = None) -> str:
    """What gets through of a continuation that arrives in pieces of these sizes, and then all at once."""
    kept, start, pieces = Continuation(so_far), 0, []
    for size in sizes or []:
        pieces.append(continuation[start : start + size])
        start += size
    pieces.append(continuation[start:])
    return "".join(map(kept.feed, pieces)) + kept.finish()


@pytest.mark.parametrize(
    ("so_far", "continuation", "expected"),
    [
        pytest.param("The quick", " brown fox", " brown fox", id="nothing repeated"),
        pytest.param("The quick bro", "wn fox", "wn fox", id="the half of a word"),
        pytest.param("The quick brown", "quick brown fox", " fox", id="the last words"),
        pytest.param(LONG + "The qui", SENTENCE * 2, SENTENCE[len("The qui") :], id="the last sentence"),
        pytest.param(CODE, CODE[12:] + "lo')\n```", "lo')\n```", id="a block of code from its fence on"),
        pytest.param("The quick brown", SENTENCE, SENTENCE[len("The quick brown") :], id="all of a short text"),
        pytest.param(LONG, LONG + "The end.", "The end.", id="all of a long text"),
        pytest.param(LONG, LONG[:5000] + "?", "?", id="a new start that goes its own way"),
        pytest.param(LONG, LONG[:5000], "", id="a new start that breaks off"),
        pytest.param("人工智能正在改变世界", "改变世界的面貌", "的面貌", id="characters that say much"),
        pytest.param("世界", "界面", "界面", id="one of them"),
        pytest.param("Tables:\n|----", "----|\n", "----|\n", id="a rule of dashes"),
        pytest.param("It costs 1,000,000", ",000,000", ",000,000", id="a large number"),
        pytest.param("if x:\n        ", "        return", "        return", id="an indentation"),
        pytest.param("Ha ha ha ", "ha ha ha", "ha ha ha", id="a laugh"),
        pytest.param("- one\n- ", "- two", "- two", id="a mark of a list"),
        pytest.param("Yes, it is. And so", "Yes, it was.", "Yes, it was.", id="a beginning like the first one"),
        pytest.param("", "Hello", "Hello", id="nothing to go on with"),
        pytest.param("Hello", "", "", id="nothing at all"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_only_what_repeats_the_text_so_far_is_left_out(
    so_far: str, continuation: str, expected: str, size: int
) -> None:
    assert new(so_far, continuation, [size] * (len(continuation) // size)) == expected


@given(texts, texts, sizes)
def test_how_a_continuation_is_chopped_makes_no_difference(so_far: str, continuation: str, sizes: list[int]) -> None:
    assert new(so_far, continuation, sizes) == new(so_far, continuation)


@given(texts, texts, sizes)
def test_only_its_beginning_is_left_out_and_only_if_it_was_there(
    so_far: str, continuation: str, sizes: list[int]
) -> None:
    kept = new(so_far, continuation, sizes)

    assert continuation.endswith(kept)
    left_out = continuation[: len(continuation) - len(kept)]
    assert so_far.endswith(left_out) or (so_far.startswith(left_out) and len(left_out) >= SHORTEST_RESTART)
    assert not left_out or 2 * len(set(left_out)) >= LEAST_VARIETY


@given(st.text("abcdefgh "), st.text("uvwxyz\n"), sizes)
def test_what_shares_no_character_gets_through_whole(so_far: str, continuation: str, sizes: list[int]) -> None:
    assert new(so_far, continuation, sizes) == continuation


@given(st.text("abcdefghij", min_size=10, max_size=100), st.integers(1, 100), st.text("XYZ"), sizes)
def test_an_end_that_comes_again_is_left_out(so_far: str, length: int, rest: str, sizes: list[int]) -> None:
    again = so_far[-length:]
    expected = rest if len(set(again)) >= LEAST_VARIETY else again + rest

    assert new(so_far, again + "|" + rest, sizes) == expected[: len(expected) - len(rest)] + "|" + rest


@given(st.integers(0, len(LONG)), st.integers(1, 500))
def test_who_starts_over_can_break_off_anywhere(length: int, size: int) -> None:
    kept = new(LONG, LONG[:length], [size] * (length // size))

    assert kept == (LONG[:length] if length < SHORTEST_RESTART else "")


def test_no_more_is_held_back_than_may_be_a_repetition() -> None:
    kept = Continuation(LONG)

    assert kept.feed("The") == ""
    assert kept.feed("y") == "They"
    assert kept.decided


def test_an_overlap_has_an_end() -> None:
    text = "ab" * LONGEST_OVERLAP

    assert new(text, text + "c", [1] * len(text)) == "c"
