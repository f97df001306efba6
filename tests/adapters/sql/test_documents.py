"""Long texts, which are stored in parts."""

import pytest

from llm_backend.infrastructure.sql import SqlStore
from llm_backend.infrastructure.sql.rows import TEXT_PART
from llm_backend.testing.contracts.store import ALICE, given, given_ready
from tests.builders import a_document, a_knowledge_base, a_user

EDGES = [0, 1, TEXT_PART - 1, TEXT_PART, TEXT_PART + 1, 2 * TEXT_PART, 3 * TEXT_PART - 1]


@pytest.mark.parametrize("length", [0, TEXT_PART, 3 * TEXT_PART - 1])
async def test_a_quotation_may_reach_over_the_parts_of_a_text(store: SqlStore, length: int) -> None:
    text = "".join(chr(0x4E00 + n % 20_000) for n in range(length))
    document = a_document()
    await given(store, a_user(1), a_knowledge_base())
    await given_ready(store, document, text=text)

    for start in EDGES:
        for end in (edge for edge in EDGES if edge >= start):
            quotation = await store.knowledge_views.quotation(ALICE, document.id, start, end)
            assert quotation == text[start:end]
