"""Jobs as rows that are leased.

A row may be taken by whoever has seen its version stand still for its patience: 0 when it is free, the length of a
lease while somebody holds it, the pause before another attempt. Whoever takes it asks in the WHERE for the version that
was seen, so that of several one gets it, on every database and at every isolation.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from random import randrange
from uuid import uuid4

import msgspec
from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    delete,
    false,
    null,
    select,
    true,
    update,
)

from llm_backend.application.ports.jobs import Hold, JobId, Lease, Progress
from llm_backend.application.standstill import LeaseWatch
from llm_backend.domain.errors import StorageFull, Unavailable
from llm_backend.infrastructure.sql.dialects import IsMember, upsert
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import jobs
from llm_backend.infrastructure.sql.statements import Query

LOOKED_AT = 16  # free jobs: when others are faster at the first, there are more to try
A_MILLISECOND = timedelta(milliseconds=1)

_JOB = bindparam("job", type_=Text)
_HOLDER = bindparam("by", type_=Text)
_NEXT_VERSION = jobs.c.version + 1
_HELD = and_(jobs.c.id == _JOB, jobs.c.holder == _HOLDER)

_ENQUEUE = (
    upsert(jobs)
    .values(
        id=_JOB,
        rank=bindparam("place", type_=Integer),
        version=bindparam("first", type_=BigInteger),
        patience=0,
        attempt=0,
        cancelled=false(),
        percent=0,
    )
    .on_conflict_do_nothing(index_elements=["id"])
    .inline()
)
_FREE = (
    select(jobs.c.id, jobs.c.version)
    .where(jobs.c.patience == 0)
    .order_by(jobs.c.rank, jobs.c.sequence)
    .limit(bindparam("most", type_=Integer))
)
_NOT_FREE = select(jobs.c.id, jobs.c.version, jobs.c.patience).where(jobs.c.patience > 0)
_TAKE = (
    update(jobs)
    .where(jobs.c.id == _JOB, jobs.c.version == bindparam("seen", type_=BigInteger))
    .values(
        version=_NEXT_VERSION,
        patience=bindparam("lease", type_=Integer),
        attempt=jobs.c.attempt + 1,
        holder=_HOLDER,
        cancelled=false(),
    )
)
_ATTEMPT = select(jobs.c.attempt).where(_HELD)
_EXTEND = (
    update(jobs)
    .where(_HELD)
    .values(
        version=_NEXT_VERSION,
        step=bindparam("at", type_=Text),
        percent=bindparam("so_far", type_=Integer),
    )
)
_IS_CANCELLED = select(jobs.c.cancelled).where(_HELD)
_DONE = delete(jobs).where(_HELD)
_RETRY = (
    update(jobs).where(_HELD).values(version=_NEXT_VERSION, patience=bindparam("pause", type_=Integer), holder=null())
)
_HAND_BACK = (
    update(jobs).where(_HELD).values(version=_NEXT_VERSION, patience=0, holder=null(), attempt=jobs.c.attempt - 1)
)
_CANCEL = (
    update(jobs)
    .where(jobs.c.id == _JOB)
    .values(
        version=_NEXT_VERSION,
        cancelled=true(),
        patience=case((jobs.c.holder.is_(None), 0), else_=jobs.c.patience),
    )
)
_PROGRESS = select(jobs.c.step, jobs.c.percent).where(jobs.c.id == _JOB)
_UNFINISHED = select(jobs.c.id).where(IsMember(jobs.c.id, bindparam("those", type_=Text)))


class SqlJobs:
    """`Jobs` in the table `jobs`."""

    def __init__(self, reader: Reader, writer: Writer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._writer = writer
        self._watch: LeaseWatch[tuple[JobId, int]] = LeaseWatch(monotonic)
        self._enqueue = writer.prepare(_ENQUEUE)
        self._free = reader.prepare(_FREE)
        self._not_free = reader.prepare(_NOT_FREE)
        self._take = writer.prepare(_TAKE)
        self._attempt = writer.prepare(_ATTEMPT)
        self._extend = writer.prepare(_EXTEND)
        self._is_cancelled = writer.prepare(_IS_CANCELLED)
        self._done = writer.prepare(_DONE)
        self._retry = writer.prepare(_RETRY)
        self._hand_back = writer.prepare(_HAND_BACK)
        self._cancel = writer.prepare(_CANCEL)
        self._progress = reader.prepare(_PROGRESS)
        self._unfinished = reader.prepare(_UNFINISHED)

    async def enqueue(self, job: JobId, *, urgent: bool = False, background: bool = False) -> None:
        # Not from 0 on: a job that is done and asked for again must not look as if it had stood still.
        first = randrange(2**31)  # noqa: S311 - nobody has to guess it
        rank = 0 if urgent else 2 if background else 1
        await self._writer.write_one(Query(self._enqueue, {"job": job, "place": rank, "first": first}))

    async def take(self, lease: timedelta, *, but: Collection[JobId] = ()) -> Lease | None:
        not_free, free = await self._reader.fetch(Query(self._not_free), Query(self._free, {"most": LOOKED_AT}))
        patience = {(JobId(job), version): milliseconds * A_MILLISECOND for job, version, milliseconds in not_free}
        still = self._watch.look(dict.fromkeys(patience), lease)
        left_lying = [seen for seen, duration in still.items() if duration >= patience[seen] and seen[0] not in but]
        seen = [*left_lying, *((JobId(job), version) for job, version in free)]
        if not seen:
            return None
        try:
            return await self._writer.write(lambda: self._taking(seen, lease // A_MILLISECOND))
        except (Unavailable, StorageFull):
            self._watch.begin_again()
            raise

    def _taking(self, candidates: Sequence[tuple[JobId, int]], patience: int) -> Steps[Lease | None]:
        holder = str(uuid4())
        for job, version in candidates:
            values = {"job": job, "by": holder}
            taken = yield Query(self._take, {**values, "seen": version, "lease": patience})
            if taken.changed:
                found = yield Query(self._attempt, values)
                return Lease(job=job, holder=holder, attempt=found.rows[0][0])
        return None

    async def extend(self, lease: Lease, progress: Progress) -> Hold:
        hold = await self._writer.write(lambda: self._extending(lease, progress))
        self._watch.answered()
        return hold

    def _extending(self, lease: Lease, progress: Progress) -> Steps[Hold]:
        extended = yield Query(self._extend, {**_held(lease), "at": progress.step, "so_far": progress.percent})
        if not extended.changed:
            return Hold.LOST
        found = yield Query(self._is_cancelled, _held(lease))
        return Hold.CANCELLED if found.rows[0][0] else Hold.KEPT

    async def done(self, lease: Lease) -> None:
        await self._writer.write_one(Query(self._done, _held(lease)))

    async def retry(self, lease: Lease, *, after: timedelta) -> None:
        await self._writer.write_one(Query(self._retry, {**_held(lease), "pause": after // A_MILLISECOND}))

    async def hand_back(self, lease: Lease) -> None:
        await self._writer.write_one(Query(self._hand_back, _held(lease)))

    async def cancel(self, job: JobId) -> None:
        await self._writer.write_one(Query(self._cancel, {"job": job}))

    async def progress(self, job: JobId) -> Progress | None:
        (found,) = await self._reader.fetch(Query(self._progress, {"job": job}))
        return Progress(step=found[0][0], percent=found[0][1]) if found and found[0][0] else None

    async def unfinished(self, jobs: Collection[JobId]) -> Collection[JobId]:
        those = msgspec.json.encode(list(jobs)).decode()
        (found,) = await self._reader.fetch(Query(self._unfinished, {"those": those}))
        return [JobId(job) for (job,) in found]


def _held(lease: Lease) -> dict[str, object]:
    return {"job": lease.job, "by": lease.holder}
