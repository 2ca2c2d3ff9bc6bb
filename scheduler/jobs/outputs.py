"""What an item may write: nothing that its job reads, and nothing that an earlier item of the job writes."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain import addresses, codes
from scheduler.domain.codes import Failure
from scheduler.domain.jobs import JobSpec
from scheduler.jobs.inputs import InputEntry, Results, results_overlap
from scheduler.jobs.methods import find_method
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.items import NewItem

#: The maximum number of jobs, newest first, whose results are looked for.
_NEIGHBOURS = 500


class KnownResults:
    """Says which addresses are results of a tenant's jobs that write to the place of a job, or will be."""

    def __init__(self, database: Database, tenant: str, spec: JobSpec) -> None:
        self._database = database
        self._tenant = tenant
        self._prefix = spec.output.prefix
        self._jobs: list[str] | None = None

    def __call__(self, uris: Collection[str]) -> set[str]:
        """Return those of the addresses."""
        storable = [uri for uri in uris if addresses.storable(uri)]
        with self._database.read() as connection:
            if self._jobs is None:
                prefixes, own = job_rows.output_prefixes(connection, self._tenant), self._prefix
                found = [id for id, prefix in prefixes if prefix.startswith(own) or own.startswith(prefix)]
                self._jobs = found[:_NEIGHBOURS]
            return {uri for id in self._jobs for uri in item_rows.taken_outputs(connection, id, storable)}


def refuse_inputs(spec: JobSpec, entries: Sequence[InputEntry], planned: Sequence[NewItem]) -> Iterator[NewItem]:
    """Yield the items of some photos; an item fails if its output is one of these photos, or a mask or a painting."""
    read = {uri for entry in entries for uri in (entry.uri, entry.mask, *entry.regions)}
    read |= {source.uri for source in find_method(spec.method).sources(spec)}
    for item in planned:
        if item.error is None and item.output in read:
            # After a crash the job would stylize its own result, and the photo would be lost.
            message = f"The output would replace {item.output}, which the job reads."
            item = replace(item, error=Failure(codes.OUTPUT_IS_INPUT, message))
        yield item


def refuse_photos(
    spec: JobSpec, planned: Sequence[NewItem], *, blobs: BlobStore, results: Results
) -> Iterator[NewItem]:
    """Yield the items; an item fails if its output may be a photo of the job that was read earlier or is read later.

    Such a photo is known by what is stored at the output now and is no known result.
    """
    there = _stored(blobs, spec, [item.output for item in planned if item.error is None and _may_be_photo(spec, item)])
    photos = there - set(results(there)) if there else there
    for item in planned:
        if item.error is None and item.output in photos:
            message = f"The output would replace {item.output}, which is no known result and may be a photo of the job."
            item = replace(item, error=Failure(codes.OUTPUT_IS_INPUT, message))
        yield item


def _may_be_photo(spec: JobSpec, item: NewItem) -> bool:
    """Return whether another photo of the job may have the address of an item's output."""
    source = spec.input
    if source.prefix is not None:
        return results_overlap(spec) and item.output.startswith(source.prefix)
    # All photos of a request are known. Of a manifest, those in the place of the results count, but not if the name of
    # a result has its style: a job may be repeated over results of jobs that are forgotten.
    named = "{style}" in spec.output.name
    return source.manifest is not None and not named and item.input.startswith(spec.output.prefix)


def _stored(blobs: BlobStore, spec: JobSpec, uris: Collection[str]) -> set[str]:
    """Return which outputs of a job are in storage, with few requests for keys that are near each other."""
    place = BlobUri.parse(spec.output.prefix)
    rest, found, after = sorted({BlobUri.parse(uri).key for uri in uris}), set[str](), ""
    while rest:
        # Without its last character, a key is listed just before itself.
        keys = blobs.list_keys(place, after=max(after, rest[0][:-1]))
        if not keys:
            break
        after = keys[-1]
        through = bisect_right(rest, after)
        found.update({*rest[:through]}.intersection(keys))
        rest = rest[through:]
    return {str(BlobUri(place.bucket, key)) for key in found}


def refuse_taken(planned: Sequence[NewItem], taken: set[str]) -> Iterator[NewItem]:
    """Yield the items; an item fails if an earlier item of the job has the same output."""
    seen = set(taken)
    for item in planned:
        if item.error is None and item.output in seen:
            item = replace(item, error=Failure(codes.OUTPUT_NAME_TAKEN, name_taken(item.output)))
        elif item.error is None:
            seen.add(item.output)
        yield item


def name_taken(output: str) -> str:
    """Return the message for an item whose output has the name of an earlier one."""
    hint = 'Tell them apart by {index} in the output\'s name, such as "{stem}-{index}__{style}.{ext}".'
    return f"An earlier item of the job has the output {output} already. {hint}"
