"""Jobs in memory."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from llm_backend.application.ports.jobs import Hold, JobId, Lease, Progress
from llm_backend.application.standstill import LeaseWatch

AT_ONCE = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job, free for whoever has seen it stand still for `patience`."""

    version: int
    rank: int = 1
    patience: timedelta = AT_ONCE
    attempt: int = 0
    holder: str | None = None
    cancelled: bool = False
    progress: Progress | None = None


@dataclass(slots=True)
class SharedJobs:
    """What several `MemoryJobs` look at, as processes look at one database."""

    rows: dict[JobId, JobRow] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=count)


class MemoryJobs:
    """`Jobs` in a dictionary, oldest first."""

    def __init__(self, shared: SharedJobs | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared or SharedJobs()
        self._watch: LeaseWatch[JobId] = LeaseWatch(monotonic)

    async def enqueue(self, job: JobId, *, urgent: bool = False, background: bool = False) -> None:
        rank = 0 if urgent else 2 if background else 1
        self._shared.rows.setdefault(job, JobRow(version=next(self._shared.numbers), rank=rank))

    async def take(self, lease: timedelta, *, but: Collection[JobId] = ()) -> Lease | None:
        rows = self._shared.rows
        still = self._watch.look({job: row.version for job, row in rows.items() if row.patience}, lease)
        left_lying = [job for job, duration in still.items() if duration >= rows[job].patience and job not in but]
        free = sorted((job for job, row in rows.items() if not row.patience), key=lambda job: rows[job].rank)
        found = [*left_lying, *free]
        return self._taken(found[0], lease) if found else None

    def _taken(self, job: JobId, patience: timedelta) -> Lease:
        number = next(self._shared.numbers)
        row = self._shared.rows[job]
        taken = Lease(job=job, holder=str(number), attempt=row.attempt + 1)
        self._shared.rows[job] = replace(
            row, version=number, patience=patience, attempt=taken.attempt, holder=taken.holder, cancelled=False
        )
        return taken

    async def extend(self, lease: Lease, progress: Progress) -> Hold:
        self._watch.answered()
        row = self._held(lease)
        if row is None:
            return Hold.LOST
        self._put(lease.job, replace(row, progress=progress))
        return Hold.CANCELLED if row.cancelled else Hold.KEPT

    async def done(self, lease: Lease) -> None:
        if self._held(lease):
            del self._shared.rows[lease.job]

    async def retry(self, lease: Lease, *, after: timedelta) -> None:
        if row := self._held(lease):
            self._put(lease.job, replace(row, patience=after, holder=None))

    async def hand_back(self, lease: Lease) -> None:
        if row := self._held(lease):
            self._put(lease.job, replace(row, patience=AT_ONCE, holder=None, attempt=row.attempt - 1))

    async def cancel(self, job: JobId) -> None:
        if row := self._shared.rows.get(job):
            patience = row.patience if row.holder else AT_ONCE
            self._put(job, replace(row, cancelled=True, patience=patience))

    async def progress(self, job: JobId) -> Progress | None:
        row = self._shared.rows.get(job)
        return row.progress if row else None

    async def unfinished(self, jobs: Collection[JobId]) -> Collection[JobId]:
        return [job for job in jobs if job in self._shared.rows]

    def _held(self, lease: Lease) -> JobRow | None:
        row = self._shared.rows.get(lease.job)
        return row if row and row.holder == lease.holder else None

    def _put(self, job: JobId, row: JobRow) -> None:
        self._shared.rows[job] = replace(row, version=next(self._shared.numbers))
