"""Dry runs: what a request for a job would do, and what is wrong with it, without writing anything."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from nst_core.client.resources.jobs import Check, CheckProblem, JobRequest
from nst_core.clock import Clock
from nst_core.errors import BlobError, BlobNotFoundError, NstError
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.access.limits import check_new_job, check_pixels
from scheduler.access.tenants import Tenants
from scheduler.domain import codes
from scheduler.domain.codes import Failure
from scheduler.domain.errors import QuotaExceededError, RequestInvalidError
from scheduler.domain.jobs import JobSpec
from scheduler.jobs.inputs import Cursor, InputEntry, read_prefix
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.manifests import Manifest
from scheduler.jobs.methods import find_method
from scheduler.jobs.outputs import KnownResults, name_taken, refuse_inputs, refuse_photos
from scheduler.jobs.planner import input_code, plan_items
from scheduler.jobs.requests import JobResolver, deadline_at
from scheduler.store.database import Database
from scheduler.store.items import NewItem

#: The maximum number of photos, and of items whose names are compared.
MAX_PHOTOS = 100_000
MAX_ITEMS = 500_000
MAX_PROBLEMS = 100
#: A dry run stops after this time, so that clients do not wait longer.
BUDGET_S = 5.0
#: The maximum number of objects that are looked up: the first photos of a request or a manifest, paintings and masks.
MAX_OBJECTS = 100
#: The number of photos between two checks of the time.
_BETWEEN_LOOKS = 200
_PAGE = 1000


class Checker:
    """Checks requests for jobs."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        resolver: JobResolver,
        tenants: Tenants,
        *,
        clock: Clock,
        item_times: ItemTimes,
        timer: Clock = time.monotonic,
    ) -> None:
        """`tenants` know what manifests may name, and the limits of tenants; `timer` is a steady clock."""
        self._database = database
        self._blobs = blobs
        self._resolver = resolver
        self._clock = clock
        self._timer = timer
        self._item_times = item_times
        self._tenants = tenants

    def check(self, tenant: str, request: JobRequest, *, objects: bool = True) -> Check:
        """Return what a job would do; without `objects`, photos are not looked up in the storage.

        The problems include the errors of a submission. An error of the storage that may be temporary is raised.
        """
        try:
            deadline_at(request, self._clock())
            spec = self._resolver.resolve(tenant, "job_dry_run", request)
            self._check_limits(tenant, spec)
        except RequestInvalidError as error:
            return _refused(CheckProblem(code=error.code, message=error.message, pointer=error.pointer))
        except QuotaExceededError as error:
            return _refused(CheckProblem(code=error.code, message=error.message))
        try:
            return self._count(tenant, spec, objects=objects)
        except NstError as error:
            if error.retryable:
                raise
            pointer = "/input/manifest" if spec.input.manifest is not None else "/input/prefix"
            return _refused(CheckProblem(code=input_code(error), message=error.message, pointer=pointer))

    def _check_limits(self, tenant: str, spec: JobSpec) -> None:
        """Raise the errors of a submission."""
        limits = self._tenants.limits(tenant)
        method = find_method(spec.method)
        check_pixels(
            method.longest_side_px(spec),
            upscale=spec.options.upscale,
            pointer=method.longest_side_pointer,
            limits=limits,
        )
        with self._database.read() as connection:
            check_new_job(connection, tenant, len(spec.input.uris or ()) * len(spec.styles), limits=limits)

    def _count(self, tenant: str, spec: JobSpec, *, objects: bool) -> Check:
        styles, photos = len(spec.styles), 0
        most = min(MAX_PHOTOS, max(1, MAX_ITEMS // styles))
        good: Counter[str] = Counter()
        # Hashes instead of names, to save memory.
        taken: set[int] = set()
        results = KnownResults(self._database, tenant, spec)
        began, in_time, has_more = self._timer(), True, False
        # Half of the time is reserved for the names.
        seeker = _Seeker(self._blobs, timer=self._timer, until=began + BUDGET_S / 2, most=MAX_OBJECTS if objects else 0)
        lost, problems = _lost_sources(spec, seeker)
        looks, before = spec.input.prefix is None, seeker.found_out  # what was listed is there
        for piece in self._pieces(tenant, spec, results):
            if self._timer() - began > BUDGET_S:
                in_time = False
                break
            has_more = photos + len(piece) > most
            for number, entry, items in self._planned(tenant, spec, piece[: most - photos], photos, results):
                photos += 1
                is_gone = looks and any(item.error is None for item in items) and seeker.misses(entry.uri)
                for item in items:
                    error = item.error
                    if error is None and hash(item.output) in taken:
                        error = Failure(codes.OUTPUT_NAME_TAKEN, name_taken(item.output))
                    if error is None:
                        taken.add(hash(item.output))
                        error = _gone(entry.uri) if is_gone else None
                    if error is None:
                        good.update(() if item.style in lost else (item.style,))
                    elif len(problems) < MAX_PROBLEMS:
                        problems.append(_problem(spec, number, entry, error))
            if has_more:
                break
        if not photos:
            problems.append(
                CheckProblem(code=codes.NO_INPUTS, message="The job's input names no photo.", pointer="/input")
            )
        too_many = self._too_many(tenant, photos * styles)
        with self._database.read() as connection:
            estimated_s = self._item_times.estimate_s(connection, spec, good)
        return Check(
            valid=good.total() > 0 and not too_many,
            photos=photos,
            items=photos * styles,
            failing=photos * styles - good.total(),
            truncated=not in_time or has_more,
            objects_checked=None if not objects else seeker.found_out - before if looks else photos,
            problems=(*too_many, *problems)[:MAX_PROBLEMS],
            estimated_s=estimated_s if good else None,
        )

    def _too_many(self, tenant: str, items: int) -> list[CheckProblem]:
        """Return what is wrong with so many images in one job."""
        most = self._tenants.limits(tenant).max_items_per_job
        if most is None or items <= most:
            return []
        message = f"A job has {most:,.0f} images at most."
        return [CheckProblem(code=QuotaExceededError.code, message=message, pointer="/input")]

    def _planned(
        self, tenant: str, spec: JobSpec, entries: Sequence[InputEntry], first: int, results: KnownResults
    ) -> Iterator[tuple[int, InputEntry, Sequence[NewItem]]]:
        """Yield photos with their numbers and their items."""
        permissions, styles = self._tenants.permissions(tenant), len(spec.styles)
        items = list(plan_items(spec, entries, first_input=first, permissions=permissions))
        items = list(refuse_inputs(spec, entries, items))
        items = list(refuse_photos(spec, items, blobs=self._blobs, results=results))
        for place, entry in enumerate(entries):
            yield first + place, entry, items[place * styles : (place + 1) * styles]

    def _pieces(self, tenant: str, spec: JobSpec, results: KnownResults) -> Iterator[Sequence[InputEntry]]:
        """Yield some photos at a time; none for a page without photos, because that takes time too."""
        for entries in self._pages(tenant, spec, results):
            for start in range(0, max(1, len(entries)), _BETWEEN_LOOKS):
                yield entries[start : start + _BETWEEN_LOOKS]

    def _pages(self, tenant: str, spec: JobSpec, results: KnownResults) -> Iterator[Sequence[InputEntry]]:
        if spec.input.uris is not None:
            yield [InputEntry(uri=uri) for uri in spec.input.uris]
            return
        may_read = self._tenants.permissions(tenant).may_read
        manifest = None if spec.input.manifest is None else BlobUri.parse(spec.input.manifest)
        lines = None if manifest is None else Manifest(self._blobs, manifest, Cursor())
        cursor, is_last = Cursor(), False
        while not is_last:
            if lines is not None:
                page = lines.page(_PAGE, may_read, timer=self._timer)
            else:
                page = read_prefix(self._blobs, spec, cursor, limit=_PAGE, timer=self._timer, results=results)
            yield page.entries
            cursor, is_last = page.cursor, page.is_last


class _Seeker:
    """Looks up objects in the storage: up to `most`, and until the timer says `until`."""

    def __init__(self, blobs: BlobStore, *, timer: Clock, until: float, most: int) -> None:
        self._blobs = blobs
        self._timer = timer
        self._until = until
        self._left = most
        #: The number of objects whose existence is known.
        self.found_out = 0

    def misses(self, uri: str) -> bool:
        """Return whether an object is known to be missing; False if it was not looked up or the storage failed."""
        if self._left == 0 or self._timer() > self._until:
            return False
        self._left -= 1
        try:
            is_there = self._blobs.exists(BlobUri.parse(uri))
        except BlobError as error:
            if error.retryable:
                self._left = 0  # each further one could take as long
            return False
        self.found_out += 1
        return not is_there


def _lost_sources(spec: JobSpec, seeker: _Seeker) -> tuple[set[str], list[CheckProblem]]:
    """Return the styles that cannot be used because a file is missing, and what to say about it."""
    lost = [source for source in find_method(spec.method).sources(spec) if seeker.misses(source.uri)]
    problems = []
    for source in lost:
        problems.append(CheckProblem(**_gone(source.uri)._asdict(), pointer=source.pointer))
    return {style for source in lost for style in source.styles}, problems


def _gone(uri: str) -> Failure:
    return Failure(BlobNotFoundError.code, f"There is no object {uri}.")


def _refused(problem: CheckProblem) -> Check:
    return Check(valid=False, photos=0, items=0, failing=0, problems=(problem,))


def _problem(spec: JobSpec, number: int, entry: InputEntry, error: Failure) -> CheckProblem:
    code, message = error
    if spec.input.uris is not None:
        return CheckProblem(code=code, message=message, pointer=f"/input/uris/{number}", input=entry.uri)
    if spec.input.manifest is not None:
        # A line that cannot be read names no photo.
        return CheckProblem(code=code, message=message, line=entry.line, input=None if entry.error else entry.uri)
    return CheckProblem(code=code, message=message, input=entry.uri)
