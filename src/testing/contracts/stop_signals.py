"""What every adapter of `StopSignals` must keep."""

import asyncio

from llm_backend.application.ports.stop_signals import StopSignals
from llm_backend.domain.ids import LARGEST_ID, AnswerId

SOON = 5  # seconds; what takes longer hangs


class StopSignalsContract:
    """Every subscriber hears of every answer. Needs the fixture `signals`."""

    async def test_every_subscriber_hears_of_every_answer(self, signals: StopSignals) -> None:
        answers = [AnswerId(1), AnswerId(2), AnswerId(LARGEST_ID)]
        heard: list[asyncio.Queue[AnswerId]] = [asyncio.Queue(), asyncio.Queue()]
        for queue in heard:
            signals.subscribe(queue.put_nowait)

        for answer in answers:
            await signals.publish(answer)

        async with asyncio.timeout(SOON):
            assert [[await queue.get() for _ in answers] for queue in heard] == [answers, answers]

    async def test_a_signal_that_nobody_waits_for_is_no_error(self, signals: StopSignals) -> None:
        await signals.publish(AnswerId(1))
