import pytest

from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.testing.contracts.passage_index import PassageIndexContract


@pytest.fixture
def index() -> PassageIndex:
    return MemoryPassageIndex()


class TestPassageIndex(PassageIndexContract):
    pass
