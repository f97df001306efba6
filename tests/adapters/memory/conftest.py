from datetime import timedelta

import pytest

from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.cache import Pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pass_time(clock: ManualClock) -> Pass:
    async def pass_time(duration: timedelta) -> None:
        clock.advance(duration)

    return pass_time
