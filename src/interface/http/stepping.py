"""Running a coroutine at once, as far as it gets without waiting.

A task has to be woken up for whatever it does, which for a piece of an answer costs more than all else that is done
with it. Sending hardly ever waits: only when the client reads more slowly than the model writes.
"""

from collections.abc import Awaitable, Coroutine, Generator
from types import CoroutineType, coroutine
from typing import Any


def begun(steps: Awaitable[None]) -> Awaitable[None] | None:
    """Run a coroutine to its end, or to where it has to wait: then the rest is returned, for a task to await.

    Must be called on the event loop. Raises what the coroutine raises.
    """
    if type(steps) is not CoroutineType:
        return steps
    try:
        waits_for = steps.send(None)
    except StopIteration:
        return None
    return _rest(steps, waits_for)


@coroutine
def _rest(steps: Coroutine[Any, Any, None], waits_for: object) -> Generator[object, Any, None]:
    """`yield from` a coroutine that is on its way already, and has said what it is waiting for."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - cancellation, which is for the coroutine to handle
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(sent)
    except StopIteration:
        return
    finally:
        steps.close()
