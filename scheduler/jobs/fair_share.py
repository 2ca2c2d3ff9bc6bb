"""Which job sends the next chunk, so that tenants and jobs share the workers fairly."""

from collections import Counter
from collections.abc import Iterable, Mapping

from scheduler.domain.jobs import LEAST_WEIGHT
from scheduler.store.chunks import Share
from scheduler.store.jobs import Waiting


class FairShare:
    """Counts the chunks that are in Redis and with workers, and says which job sends the next one.

    Tenants get chunks in proportion to their weights. Within a tenant, jobs with a higher priority come first, and jobs
    with the same priority get the same number of chunks.
    """

    def __init__(self, shares: Iterable[Share], weights: Mapping[str, float]) -> None:
        """`shares` are the chunks that were sent and have not ended. A tenant without a weight has the weight 1."""
        self._weights = weights
        self._by_job: Counter[str] = Counter()
        self._by_tenant: Counter[str] = Counter()
        self._ranks: set[int] = set()
        for share in shares:
            self._ranks.add(share.priority.rank)
            self._by_job[share.job_id] += share.chunks
            self._by_tenant[share.tenant] += share.chunks

    def next(self, waiting: Iterable[Waiting]) -> Waiting:
        """Return the job that sends the next chunk."""
        return min(waiting, key=lambda job: (self._load(job.tenant), job.tenant, *self._place(job)))

    def is_ahead(self, job: Waiting) -> bool:
        """Return whether a job's next chunk should overtake the chunks that wait in the queue.

        It should if another tenant has more chunks. If no other tenant has any, it should if the job has none and no
        job with a higher priority has one.
        """
        others = [self._load(tenant) for tenant in self._by_tenant if tenant != job.tenant]
        if others:
            return self._load(job.tenant) < max(others)
        return not self._by_job[job.id] and job.priority.rank <= min(self._ranks, default=job.priority.rank)

    def add(self, job: Waiting) -> None:
        """Count another chunk of a job."""
        self._by_job[job.id] += 1
        self._by_tenant[job.tenant] += 1
        self._ranks.add(job.priority.rank)

    def _load(self, tenant: str) -> float:
        return self._by_tenant[tenant] / max(self._weights.get(tenant, 1.0), LEAST_WEIGHT)

    def _place(self, job: Waiting) -> tuple[int, int, str]:
        return job.priority.rank, self._by_job[job.id], job.id
