import pytest

from llm_backend.application.ports.stop_signals import StopSignals
from llm_backend.infrastructure.memory.stop_signals import MemoryStopSignals
from llm_backend.testing.contracts.stop_signals import StopSignalsContract


class TestMemoryStopSignals(StopSignalsContract):
    @pytest.fixture
    def signals(self) -> StopSignals:
        return MemoryStopSignals()
