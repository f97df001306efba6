"""The blocks of a document as JSON in rows: each place once, as all rows of a table are under the same headings."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from llm_backend.domain.knowledge import Block


class StoredPlace(msgspec.Struct, omit_defaults=True, frozen=True):
    """What blocks that follow each other often share."""

    headings: tuple[str, ...] = ()
    page: int | None = None
    sheet: str | None = None


class StoredBlocks(msgspec.Struct, frozen=True):
    """Each block is a start, an end, and the number of its place, from 0."""

    places: list[StoredPlace]
    blocks: list[tuple[int, int, int]]


_decode = msgspec.json.Decoder(StoredBlocks).decode


def blocks_value(blocks: Sequence[Block]) -> str:
    places: dict[StoredPlace, int] = {}
    stored = [(block.start, block.end, places.setdefault(_place(block), len(places))) for block in blocks]
    return msgspec.json.encode(StoredBlocks(list(places), stored)).decode()


def blocks_from(values: Iterable[str]) -> Iterator[Block]:
    for value in values:
        part = _decode(value)
        for start, end, number in part.blocks:
            place = part.places[number]
            yield Block(start=start, end=end, headings=place.headings, page=place.page, sheet=place.sheet)


def _place(block: Block) -> StoredPlace:
    return StoredPlace(block.headings, block.page, block.sheet)
