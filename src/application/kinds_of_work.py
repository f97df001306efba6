"""Jobs of several kinds, told apart by how their ids begin."""

from collections.abc import Mapping
from dataclasses import dataclass

from llm_backend.application.job_runner import Report, Work
from llm_backend.application.ports.jobs import JobId


@dataclass(frozen=True, slots=True)
class KindsOfWork:
    """Each job goes to the work of its prefix; one without any that is known goes to `others`."""

    by_prefix: Mapping[str, Work]
    others: Work

    async def __call__(self, job: JobId, report: Report) -> None:
        await self._work(job)(job, report)

    async def give_up(self, job: JobId, error: Exception, report: Report) -> None:
        await self._work(job).give_up(job, error, report)

    def _work(self, job: JobId) -> Work:
        return next((work for prefix, work in self.by_prefix.items() if job.startswith(prefix)), self.others)
