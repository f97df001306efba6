"""A long run of everything at once, under kills and outages: `make soak MINUTES=10`.

Three servers on one PostgreSQL, one Redis and one data folder, and people who talk, upload and delete. Every 20 seconds
one of two of the servers is killed with -9 and started again; the third is left alone, so that its memory can be
watched. In the middle Redis is away for a minute. At the end it prints what was done and what was lost, and fails if
that is anything.
"""

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import lancedb
from httpx import AsyncClient, Limits

from tests.faults.people import Crowd
from tests.faults.replicas import SOON, Replicas, UpstreamProcess
from tests.live import FreshServerProcess, ServerProcess
from tests.servers import PostgresCluster, RedisServer
from tests.system.processes import killed, started, terminated

KILL_EVERY = 20.0  # seconds
REDIS_AWAY = 60.0
NOTICED = 3.0  # until every server knows that Redis is back
WARM_UP = 60.0
SWEEPS = 4  # starts of a server, each of which clears up what others left
FLAT = 1.25  # how much larger the memory may be at the end


@dataclass(slots=True)
class Soak:
    """One run. `lost` is empty if all is well."""

    replicas: Replicas
    redis: RedisServer
    crowd: Crowd
    seconds: float
    chance: random.Random
    kills: int = 0
    redis_gone_at: float = float("inf")
    redis_back_at: float = 0.0
    not_ready: int = 0
    memory: list[float] = field(default_factory=list)  # MiB, of the server that is left alone
    lost: list[str] = field(default_factory=list)

    async def run(self) -> None:
        await self.crowd.come()
        staying = asyncio.create_task(self.crowd.stay())
        troubles = [asyncio.create_task(each) for each in (self._kill(), self._stop_redis(), self._watch())]
        await asyncio.wait({staying}, timeout=self.seconds)
        self.crowd.leave.set()
        for trouble in troubles:
            trouble.cancel()
        ended = await asyncio.gather(*troubles, return_exceptions=True)
        self.lost += [f"a trouble failed: {error!r}" for error in ended if isinstance(error, Exception)]
        await self._all_back()
        await staying

    async def audit(self, vectors: Path) -> None:
        self.lost += await self.crowd.audit()
        for reader, again in self.crowd.repetitions():
            if reader.ended < self.redis_gone_at or reader.began > self.redis_back_at:
                self.lost.append(f"{reader.question} was told {again} characters twice, and Redis was there")
            self.crowd.tally["answers told twice in part, without Redis"] += 1
        orphans = await self._orphans(vectors)
        for _ in range(SWEEPS):
            if not orphans:
                break
            print(f"{orphans} vectors of deleted documents are left to be cleared up", flush=True)
            server = self.replicas.servers[0]
            await terminated(server)
            await started(server)
            orphans = await self._orphans(vectors)
        if orphans:
            self.lost.append(f"{orphans} orphan vectors")

    async def _orphans(self, vectors: Path) -> int:
        """Passages in the index whose document nobody has."""
        kept = {paper.id for person in self.crowd.people for paper in person.papers if not paper.deleted}
        database = await lancedb.connect_async(vectors)
        orphans = 0
        for name in (await database.list_tables()).tables:
            table = await database.open_table(name)
            rows = await table.query().select(["document"]).to_arrow()
            orphans += sum(document not in kept for document in rows["document"].to_pylist())
        return orphans

    # Troubles --------------------------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        """From kill to kill, however long the killed one takes to be back."""
        due = time.monotonic()
        while True:
            due = max(due + KILL_EVERY, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            server = self.chance.choice(self.replicas.servers[1:])
            await killed(server)
            self.kills += 1
            await started(server)

    async def _stop_redis(self) -> None:
        """Once, in the middle, for no more than a quarter of the time."""
        duration = min(REDIS_AWAY, self.seconds / 4)
        await asyncio.sleep((self.seconds - duration) / 2)
        self.redis_gone_at = time.monotonic()
        self.redis.stop()
        await asyncio.sleep(duration)
        await asyncio.to_thread(self.redis.start)
        self.redis_back_at = time.monotonic() + NOTICED

    async def _watch(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(5)
            ready = await self.crowd.http.get(f"{self.replicas.urls[0]}/readyz")
            self.not_ready += ready.status_code != 200
            if time.monotonic() - began > min(WARM_UP, self.seconds / 3):
                self.memory.append(resident(self.replicas.servers[0]))

    async def _all_back(self) -> None:
        """A trouble that was cancelled may have left a server or Redis dead."""
        for server in self.replicas.servers:
            if server.process.poll() is not None:
                await started(server)
        if self.redis_gone_at < float("inf") and not self.redis_back_at:
            await asyncio.to_thread(self.redis.start)

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def growth(self) -> float:
        """The memory of the last samples to that of the first ones."""
        few = max(1, len(self.memory) // 5)
        first, last = self.memory[:few], self.memory[-few:]
        return sum(last) / sum(first) if first else 1.0

    def report(self) -> str:
        memory = f"{self.memory[0]:.0f} MiB after warming up, {self.memory[-1]:.0f} at the end" if self.memory else "?"
        lines = {
            "seconds": f"{self.seconds:.0f}",
            "kills": self.kills,
            "Redis away": f"{max(0.0, self.redis_back_at - NOTICED - self.redis_gone_at):.0f} s",
            "not ready": f"{self.not_ready} looks",
            **dict(sorted(self.crowd.tally.items())),
            "memory": f"{memory} (× {self.growth:.2f})",
            "memory by minute": " ".join(f"{sample:.0f}" for sample in self.memory[::12]),
            "lost": len(self.lost) or "nothing",
        }
        return "\n".join([f"| {name} | {value} |" for name, value in lines.items()] + self.lost[:50])


def resident(server: ServerProcess) -> float:
    """MiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def soak(folder: Path, seconds: float, seed: int) -> Soak:
    with PostgresCluster() as cluster, RedisServer() as redis, UpstreamProcess() as upstream:
        async with (
            Replicas(folder, upstream.base_url, cluster.url(), redis, count=3, kind=FreshServerProcess) as replicas,
            AsyncClient(timeout=SOON, limits=Limits(max_keepalive_connections=0)) as http,
        ):
            crowd = Crowd(urls=replicas.urls, http=http, talkers=12, keepers=3, seed=seed)
            run = Soak(replicas, redis, crowd, seconds, random.Random(seed))
            try:
                await run.run()
                await run.audit(folder / "data" / "lancedb")
            finally:
                print(run.report(), flush=True)
                for number, server in enumerate(replicas.servers, 1):
                    (folder / f"server-{number}.log").write_text(server.output)
            return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the data and the servers' logs there")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with TemporaryDirectory(prefix="llm-backend-soak-") as folder:
        run = asyncio.run(soak(given.keep or Path(folder), 60 * given.minutes, given.seed))
    if run.growth > FLAT:
        print(f"The memory grew to {run.growth:.2f} times what it was.")
    return 1 if run.lost or run.growth > FLAT else 0


if __name__ == "__main__":
    sys.exit(main())
