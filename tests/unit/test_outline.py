from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_backend.domain.chunking import chunks_of
from llm_backend.domain.knowledge import Block, Chunk, ParsedDocument
from llm_backend.domain.outline import outline

SENTENCES = "It begins with this. Then it goes on for a while. After that there is more. And more. And more still. "


def chunks(*sections: tuple[tuple[str, ...], str]) -> list[Chunk]:
    """Those of a document with these headings and texts."""
    text, blocks = "", []
    for headings, body in sections:
        for part in (f"# {headings[-1]}", body) if headings else (body,):
            blocks.append(Block(start=len(text), end=len(text) + len(part), headings=headings))
            text += part + "\n\n"
    return chunks_of(ParsedDocument(text=text, blocks=blocks, file_type="md"))


def texts(found: Sequence[Chunk]) -> list[str]:
    return [chunk.text for chunk in found]


def test_a_short_document_is_its_own_outline() -> None:
    whole = chunks((("One",), SENTENCES), (("Two",), SENTENCES))

    assert outline(whole, 1000, size=len) == whole


def test_a_longer_one_is_told_by_the_headings_and_first_sentences_of_its_sections() -> None:
    whole = chunks(*(((f"Part {n}",), f"Part {n} is about {n}. {SENTENCES * 5}") for n in range(10)))

    found = texts(outline(whole, 500, size=len))

    assert found[0].startswith("# Part 0\n\nPart 0 is about 0. It begins with this. Then it goes on")
    assert found[1:] == [f"# Part {n}\n\nPart {n} is about {n}." for n in range(1, 10)]


def test_where_that_is_too_much_deeper_sections_are_left_out() -> None:
    whole = chunks(
        *(((f"Part {n // 10}", f"{n}")[: 1 + (n % 10 > 0)], f"This is {n}. {SENTENCES * 5}") for n in range(80))
    )

    found = texts(outline(whole, 700, size=len))

    assert found[1:] == [f"# Part {n}\n\nThis is {n}0." for n in range(1, 8)]


def test_a_text_without_headings_is_told_by_pieces_from_all_over_it() -> None:
    whole = chunks(*(((), f"Now comes number {n}. {SENTENCES * 5}") for n in range(100)))

    found = outline(whole, 1000, size=len)

    assert len(found) > 10
    assert found[-1].position > 80
    assert all(chunk.text.startswith("Now comes") for chunk in found)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([(), ("A",), ("B",), ("B", "C")]), st.text(min_size=1, max_size=40)), max_size=9
    ),
    st.integers(0, 300),
)
def test_an_outline_is_made_of_pieces_of_the_document_in_order(
    sections: list[tuple[tuple[str, ...], str]], budget: int
) -> None:
    whole = chunks(*sections)

    found = outline(whole, budget, size=len)

    assert [chunk.position for chunk in found] == sorted({chunk.position for chunk in found})
    for chunk in found:
        assert whole[chunk.position].text.startswith(chunk.text)
        assert chunk.end - chunk.start == len(chunk.text)
    assert sum(len(chunk.text) for chunk in found[1:]) <= budget
