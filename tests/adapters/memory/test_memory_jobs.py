import pytest

from llm_backend.infrastructure.memory.jobs import MemoryJobs, SharedJobs
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.jobs import JobsContract, OpenWorker


@pytest.fixture
def worker(clock: ManualClock) -> OpenWorker:
    shared = SharedJobs()
    return lambda: MemoryJobs(shared, monotonic=clock.monotonic)


class TestMemoryJobs(JobsContract):
    pass
