"""Plan jobs: turn what a job reads into items and chunks, page by page.

Each page is one transaction that moves the job's cursor on, so a scheduler that dies goes on where it stopped, and
of two schedulers that plan the same page only one has an effect.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from nst_core.blobs import BlobStore, BlobUri
from nst_core.errors import BlobError, ConfigError, NstError
from nst_core.protocol import ItemStatus
from scheduler import domain
from scheduler.domain import Job, JobSpec, JobStatus
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import NewItem

#: Manifests that stay open between pages; jobs take turns, page by page.
_OPEN_MANIFESTS = 8
_PLANNABLE = (JobStatus.QUEUED, JobStatus.PLANNING)


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """One photo of a job's input, or what is wrong with its line in the manifest."""

    uri: str
    custom_id: str | None = None
    #: Folder below the job's prefix, with its slash; outputs keep it.
    folder: str = ""
    error: tuple[str, str] | None = None


class Planner:
    """Plans one page of one job a tick."""

    def __init__(
        self, database: Database, blobs: BlobStore, *, chunk_size: int, page: int, buckets: frozenset[str]
    ) -> None:
        """About `page` inputs are planned in a transaction; manifests may name only `buckets`."""
        self._database = database
        self._blobs = blobs
        self._chunk_size = chunk_size
        # Whole chunks, so that the edge of a page does not leave a small one.
        self._page = max(1, page // chunk_size) * chunk_size
        self._buckets = buckets
        #: By job: the number of the next line, and the lines from there on.
        self._manifests: dict[str, tuple[int, Iterator[tuple[int, bytes]]]] = {}

    def tick(self) -> bool:
        """Plan the next page of the job that has waited longest; return whether there was one.

        A job whose input cannot be read at all fails; a storage that does not answer is tried again.
        """
        with self._database.read() as connection:
            waiting = job_rows.jobs_with_status(connection, _PLANNABLE)
        if not waiting:
            return False
        # The job with the fewest planned inputs: a short job does not wait for the listing of a long one.
        job = min(waiting, key=lambda job: (job.planned_inputs, job.id))
        try:
            entries = self._read_page(job)
        except NstError as error:
            self._manifests.pop(job.id, None)
            if error.retryable:
                raise
            self._fail(job, error)
        else:
            self._write_page(job, entries)
        return True

    def _read_page(self, job: Job) -> list[InputEntry]:
        source, start = job.spec.input, job.planned_inputs
        if source.uris is not None:
            return [InputEntry(uri=uri) for uri in source.uris[start : start + self._page]]
        if source.prefix is not None:
            return list(islice(self._list_photos(job), self._page))
        return [
            parse_line(line, number, self._buckets) for number, line in islice(self._open_manifest(job), self._page)
        ]

    def _open_manifest(self, job: Job) -> Iterator[tuple[int, bytes]]:
        """Return the manifest's numbered lines from the job's cursor on.

        It stays open from page to page: read anew for each page, a long manifest would take time by its square.
        """
        start, lines = self._manifests.pop(job.id, (-1, iter(())))
        if start != job.planned_inputs:
            uri = BlobUri.parse(str(job.spec.input.manifest))
            numbered = enumerate((line for line in self._blobs.lines(uri) if line.strip()), 1)
            lines = islice(numbered, job.planned_inputs, None)
        if len(self._manifests) >= _OPEN_MANIFESTS:
            self._manifests.pop(next(iter(self._manifests)))
        self._manifests[job.id] = (job.planned_inputs + self._page, lines)
        return lines

    def _list_photos(self, job: Job) -> Iterator[InputEntry]:
        prefix = BlobUri.parse(str(job.spec.input.prefix))
        own_output = BlobUri.parse(job.spec.output.prefix)
        base = prefix.key[: prefix.key.rfind("/") + 1]
        after = job.planned_key
        while keys := self._blobs.list_keys(prefix, after=after):
            for key in keys:
                in_output = prefix.bucket == own_output.bucket and key.startswith(own_output.key)
                if PurePosixPath(key).suffix.lower() in domain.IMAGE_SUFFIXES and not in_output:
                    folder = key[len(base) : key.rfind("/") + 1]
                    yield InputEntry(uri=str(BlobUri(prefix.bucket, key)), folder=folder)
            after = keys[-1]

    def _write_page(self, job: Job, entries: Sequence[InputEntry]) -> None:
        planned = list(plan_items(job.spec, entries, first_input=job.planned_inputs))
        with self._database.write() as connection:
            now_job = job_rows.lock_job(connection, job.id)
            if now_job.status not in _PLANNABLE or now_job.planned_inputs != job.planned_inputs:
                return  # cancelled meanwhile, or planned by another scheduler
            taken = item_rows.taken_outputs(connection, job.id, [item.output for item in planned])
            planned = list(refuse_taken(planned, taken))
            for group in chunked(planned, job.spec, self._chunk_size):
                item_rows.insert_chunk(connection, job.id, group)
            failed = sum(item.error is not None for item in planned)
            added = {ItemStatus.PENDING: len(planned) - failed, ItemStatus.FAILED: failed}
            job_rows.move_counts(connection, job.id, added, added=len(planned))
            values = {"planned_inputs": job.planned_inputs + len(entries), "status": JobStatus.PLANNING}
            if entries:
                values["planned_key"] = BlobUri.parse(entries[-1].uri).key if entries[-1].error is None else ""
            if len(entries) < self._page:
                values["status"] = JobStatus.RUNNING
                if now_job.counts.total + len(planned) == 0:
                    values |= {"error_code": "no_inputs", "error_message": "The job's input names no photo."}
            job_rows.update_job(connection, job.id, **values)
            job_rows.finalize_if_through(connection, job.id)

    def _fail(self, job: Job, error: NstError) -> None:
        """End a job whose input cannot be read; what was planned before is still done."""
        with self._database.write() as connection:
            if job_rows.lock_job(connection, job.id).status in _PLANNABLE:
                job_rows.update_job(
                    connection,
                    job.id,
                    status=JobStatus.RUNNING,
                    error_code=error.code if isinstance(error, BlobError) else "input_invalid",
                    error_message=f"The job's input cannot be read: {error.message}",
                )
                job_rows.finalize_if_through(connection, job.id)


def plan_items(spec: JobSpec, entries: Sequence[InputEntry], *, first_input: int) -> Iterator[NewItem]:
    """Yield an item for every input and style, in order."""
    for number, entry in enumerate(entries, first_input):
        for place, style in enumerate(spec.styles):
            error = entry.error
            name = domain.output_key(
                spec.output.name,
                input_key=entry.uri,
                index=number,
                style=style.name,
                suffix=domain.output_suffix(entry.uri, spec.output.format),
            )
            output = BlobUri.parse(spec.output.prefix + entry.folder + name)
            if error is None:
                try:
                    domain.check_key(output.key)
                except ConfigError as wrong:
                    error = ("output_name_invalid", f"The output's name cannot be used: {wrong.message}")
            yield NewItem(
                index=number * len(spec.styles) + place,
                input=entry.uri,
                custom_id=entry.custom_id,
                style=style.name,
                version=style.version,
                output=str(output),
                error=error,
            )


def refuse_taken(planned: Sequence[NewItem], taken: set[str]) -> Iterator[NewItem]:
    """Yield the items, failed where an earlier item of the job has the same output."""
    seen = set(taken)
    for item in planned:
        if item.error is None and item.output in seen:
            message = f"An earlier item of the job has the output {item.output} already."
            item = NewItem(**{**vars(item), "error": ("output_name_taken", message)})
        elif item.error is None:
            seen.add(item.output)
        yield item


def chunked(planned: Sequence[NewItem], spec: JobSpec, size: int) -> Iterator[list[NewItem]]:
    """Yield the items in groups of one style and at most `size`, the first inputs first."""
    by_style = [[item for item in planned if item.style == style.name] for style in spec.styles]
    for start in range(0, max((len(group) for group in by_style), default=0), size):
        for group in by_style:
            if part := group[start : start + size]:
                yield part


def parse_line(line: bytes, number: int, buckets: frozenset[str]) -> InputEntry:
    """Return the entry of a manifest line: a JSON object with `input` and, if wanted, `custom_id`."""
    try:
        values = json.loads(line)
        uri, custom_id = values["input"], values.get("custom_id")
        address = BlobUri.parse(uri)
        if custom_id is not None and not (isinstance(custom_id, str) and len(custom_id) <= 255):
            raise ConfigError("custom_id is no text of at most 255 characters.")
        if address.bucket not in buckets or not address.key:
            raise ConfigError(f"{uri} is not an object in a bucket that jobs may read.")
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else 'it is no JSON object with a text "input".'
        return InputEntry(uri=f"line:{number}", error=("input_invalid", f"Line {number} of the manifest: {reason}"))
    return InputEntry(uri=str(address), custom_id=custom_id)
