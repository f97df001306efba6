"""Chunks: exact offsets, nothing lost, nothing too long, whole paragraphs first."""

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_backend.domain.chunking import DEFAULT_SIZES, ChunkSizes, chunks_of, search_text_of
from llm_backend.domain.knowledge import Block, Chunk, ParsedDocument

SMALL = ChunkSizes(longest=80, longest_dense=30, merged=30, overlap=20)

ODD_TEXT = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40),
        st.sampled_from(
            [
                "\n\n",
                "\r\n",
                "\t",
                " ",
                "。",
                "！” ",
                "A sentence. ",
                "他说：“好。”",
                "👩‍👩‍👧‍👦",
                "é",
                "x" * 100,
                "漢" * 50,
                "..",
                "\u2028",
            ]
        ),
    ),
    max_size=30,
).map("".join)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    """Any text with any blocks in order; some of the text may lie outside all of them."""
    text = draw(ODD_TEXT)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    headings = st.sampled_from([(), ("A",), ("A", "B"), ("C",)])
    blocks = [
        Block(
            start=start,
            end=end,
            headings=draw(headings),
            page=draw(st.sampled_from([None, 1, 2])),
            sheet=draw(st.sampled_from([None, "S", "T"])),
        )
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return ParsedDocument(text=text, blocks=blocks, file_type="txt")


def a_document(*paragraphs: str, headings: tuple[str, ...] = (), pages: tuple[int, ...] = ()) -> ParsedDocument:
    text, blocks = "", []
    for index, paragraph in enumerate(paragraphs):
        page = pages[index] if pages else None
        blocks.append(Block(start=len(text), end=len(text) + len(paragraph), headings=headings, page=page))
        text += paragraph + "\n\n"
    return ParsedDocument(text=text, blocks=blocks, file_type="txt")


def texts(document: ParsedDocument, sizes: ChunkSizes = SMALL) -> list[str]:
    return [chunk.text for chunk in chunks_of(document, sizes)]


@given(documents())
def test_each_chunk_is_exactly_the_characters_between_its_offsets(document: ParsedDocument) -> None:
    chunks = chunks_of(document, SMALL)

    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))


@given(documents())
def test_every_visible_character_is_in_some_chunk_and_no_chunk_is_blank(document: ParsedDocument) -> None:
    chunks = chunks_of(document, SMALL)

    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    visible = {place for place, character in enumerate(document.text) if not character.isspace()}
    assert visible <= covered
    assert all(chunk.text == chunk.text.strip() != "" for chunk in chunks)


@given(documents())
def test_no_chunk_is_longer_than_allowed(document: ParsedDocument) -> None:
    assert all(SMALL.of(chunk.text) <= SMALL.longest for chunk in chunks_of(document, SMALL))


@given(documents())
def test_chunks_advance(document: ParsedDocument) -> None:
    chunks = chunks_of(document, SMALL)

    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))


def test_an_empty_document_has_no_chunks() -> None:
    assert chunks_of(a_document(" \n\t ")) == []


def test_a_paragraph_is_not_cut_below_the_limit() -> None:
    english, chinese = "A sentence of words. " * 95, "知识库检索。" * 125

    assert texts(a_document(english), DEFAULT_SIZES) == [english.strip()]
    assert texts(a_document(chinese), DEFAULT_SIZES) == [chinese]


def test_a_long_paragraph_is_cut_between_sentences_into_pieces_of_similar_size() -> None:
    paragraph = " ".join(f"This is sentence number {number} of a rather long paragraph." for number in range(50))

    pieces = texts(a_document(paragraph), DEFAULT_SIZES)

    assert len(pieces) == 2
    assert all(piece.startswith("This is sentence") and piece.endswith("paragraph.") for piece in pieces)
    assert max(map(len, pieces)) < 1.5 * min(map(len, pieces))


def test_a_long_chinese_paragraph_is_cut_after_its_full_stops_and_closing_quotes() -> None:
    paragraph = "他说：“检索要准确。”" * 100

    pieces = texts(a_document(paragraph), DEFAULT_SIZES)

    assert len(pieces) == 2
    assert all(len(piece) <= 750 and piece.startswith("他说") and piece.endswith("。”") for piece in pieces)


def test_the_pieces_of_a_split_paragraph_overlap_and_whole_paragraphs_do_not() -> None:
    split = chunks_of(a_document("One two three four. " * 8), SMALL)
    whole = chunks_of(a_document("x" * 70, "y" * 70), SMALL)

    assert all(a.end > b.start for a, b in pairwise(split))
    assert [chunk.text for chunk in whole] == ["x" * 70, "y" * 70]


def test_small_neighbours_under_the_same_heading_are_put_together() -> None:
    together = a_document("One line.", "Another line.", "The third one is longer.", headings=("A",))

    assert texts(together) == ["One line.\n\nAnother line.", "The third one is longer."]


def test_neighbours_on_different_sheets_stay_apart() -> None:
    blocks = [Block(start=0, end=3, sheet="S"), Block(start=4, end=7, sheet="T")]

    chunks = chunks_of(ParsedDocument(text="one\ntwo", blocks=blocks, file_type="xlsx"))

    assert [(chunk.text, chunk.sheet) for chunk in chunks] == [("one", "S"), ("two", "T")]


def test_neighbours_on_different_pages_or_under_different_headings_stay_apart() -> None:
    text = "one\ntwo\nthree"
    blocks = [
        Block(start=0, end=3, headings=("A",), page=1),
        Block(start=4, end=7, headings=("B",), page=1),
        Block(start=8, end=13, headings=("B",), page=2),
    ]

    chunks = chunks_of(ParsedDocument(text=text, blocks=blocks, file_type="pdf"))

    assert [(chunk.text, chunk.headings, chunk.page) for chunk in chunks] == [
        ("one", ("A",), 1),
        ("two", ("B",), 1),
        ("three", ("B",), 2),
    ]


def test_a_heading_stays_with_what_it_stands_above() -> None:
    text = "# A\n## B\n" + "words " * 12
    blocks = [
        Block(start=0, end=3, headings=("A",)),
        Block(start=4, end=8, headings=("A", "B")),
        Block(start=9, end=len(text), headings=("A", "B")),
    ]

    (chunk,) = chunks_of(ParsedDocument(text=text, blocks=blocks, file_type="md"), ChunkSizes(merged=1))

    assert chunk.text == text.strip()
    assert chunk.headings == ("A", "B")


def test_text_outside_all_blocks_is_kept() -> None:
    text = "before [block] after"
    document = ParsedDocument(text=text, blocks=[Block(start=7, end=14, headings=("H",))], file_type="txt")

    assert texts(document, ChunkSizes(merged=1)) == ["before", "[block]", "after"]


def test_a_cut_in_the_middle_of_a_word_leaves_accents_and_joined_emoji_whole() -> None:
    family = "👩‍👩‍👧‍👦"
    accented = "e\u0301"

    assert {piece.count(family) * len(family) == len(piece) for piece in texts(a_document(family * 100))} == {True}
    assert all(piece.startswith("e") for piece in texts(a_document(accented * 300)))


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        "漢",
        ".",
        "。",
        ")",
        ".)",
        "a. ",
        "word ",
        " \n.",
        "a,",
        "e\u0301",
        "\u0301",
        "\u200d",
        "😀",
        "\r\n",
        "Ein Satz? ",
    ],
)
def test_megabytes_in_a_single_line_take_seconds(unit: str) -> None:
    text = "a" + unit * (1_000_000 // len(unit))
    document = ParsedDocument(text=text, blocks=[Block(start=0, end=len(text))], file_type="txt")

    started = process_time()
    chunks = chunks_of(document)

    assert process_time() - started < 6
    assert all(DEFAULT_SIZES.of(chunk.text) <= DEFAULT_SIZES.longest for chunk in chunks)


def test_what_is_searched_has_title_and_headings_in_front_and_names_each_once() -> None:
    chunk = Chunk(position=0, start=0, end=4, text="text", headings=("Guide", "Install"))

    assert search_text_of("Guide", chunk) == "Guide > Install\ntext"
    assert search_text_of("", Chunk(position=0, start=0, end=4, text="text")) == "text"
