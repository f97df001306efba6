"""Whether everything this program stands on is there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

CHECK_TIMEOUT = 2.0  # seconds


class Health(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing we stand on. `check` raises when it is away; without an essential part nothing works."""

    check: Callable[[], Awaitable[object]]
    essential: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    health: Health
    parts: Mapping[str, Health]


@dataclass(frozen=True, slots=True)
class CheckReadiness:
    """Look at every part at the same time, and for a limited time."""

    parts: Mapping[str, Part]

    async def __call__(self) -> Readiness:
        """Never raises: a part that fails, or takes longer than 2 seconds, is not there."""
        found = await asyncio.gather(*(_look_at(part) for part in self.parts.values()))
        health = max(found, key=list(Health).index, default=Health.OK)
        return Readiness(health=health, parts=dict(zip(self.parts, found, strict=True)))


async def _look_at(part: Part) -> Health:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await part.check()
    except Exception:  # noqa: BLE001 - whatever it is, the part is not there
        return Health.DOWN if part.essential else Health.DEGRADED
    return Health.OK
