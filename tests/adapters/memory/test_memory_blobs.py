import pytest

from llm_backend.infrastructure.memory.blobs import MemoryBlobs
from llm_backend.testing.contracts.blobs import BlobsContract


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


class TestMemoryBlobs(BlobsContract):
    pass
