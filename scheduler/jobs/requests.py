"""Requests for jobs: checked against what a tenant may use, and resolved into a spec that never changes."""

from collections.abc import Sequence

from nst_core.blends import result_name
from nst_core.client.resources.jobs import JobInput, JobRequest
from nst_core.errors import ConfigError
from nst_core.protocol.chunks import StyleRef, StylizeOptions
from nst_core.storage.blobs import BlobUri
from nst_core.system.traces import traceparent
from scheduler.access.places import Permissions
from scheduler.access.tenants import Tenants
from scheduler.domain import addresses, naming
from scheduler.domain.errors import RequestInvalidError
from scheduler.domain.jobs import JobOutput, JobSpec
from scheduler.domain.looks import Look
from scheduler.jobs.inputs import InputEntry
from scheduler.jobs.methods import all_methods, find_method
from scheduler.jobs.outputs import refuse_inputs, refuse_taken
from scheduler.jobs.planner import plan_items
from scheduler.store.database import Database
from scheduler.styles.pins import find_look, find_painted


def deadline_at(request: JobRequest, now: float) -> float | None:
    """Return when a job expires that is submitted now; raise RequestInvalidError if that time has passed."""
    if request.expires_after_s is not None:
        return now + request.expires_after_s
    if request.deadline is None:
        return None
    if request.deadline.timestamp() <= now:
        raise RequestInvalidError("The deadline has passed already.", pointer="/deadline")
    return request.deadline.timestamp()


class JobResolver:
    """Turns requests into specs, and refuses what a tenant may not use."""

    def __init__(self, database: Database, tenants: Tenants, *, bucket: str, max_attempts: int) -> None:
        """`bucket` is the one that tenants share; `max_attempts` is for jobs that have no value of their own."""
        self._database = database
        self._tenants = tenants
        self._bucket = bucket
        self._max_attempts = max_attempts

    def resolve(self, tenant: str, job_id: str, request: JobRequest) -> JobSpec:
        """Return what a job does; raise RequestInvalidError if that is not possible or not allowed."""
        permissions = self._tenants.permissions(tenant)
        if request.method not in all_methods():
            known = ", ".join(all_methods())
            raise RequestInvalidError(f"There is no method {request.method!r}; known: {known}.", pointer="/method")
        resolved = find_method(request.method).resolve(request, _Lookup(self._database, permissions))
        _check_input(permissions, request.input)
        for key, value in request.metadata.items():
            if not (addresses.storable(key) and addresses.storable(value)):
                raise RequestInvalidError("Metadata has characters that cannot be stored.", pointer="/metadata")
        try:
            naming.check_name_template(request.output.name)
        except ConfigError as error:
            raise RequestInvalidError(error.message, pointer="/output/name") from error
        prefix = request.output.prefix or f"s3://{self._bucket}/{addresses.job_key(tenant, job_id)}"
        spec = JobSpec(
            input=request.input,
            output=JobOutput(
                prefix=permissions.output_prefix(prefix, pointer="/output/prefix"),
                format=request.output.format,
                name=request.output.name,
            ),
            styles=resolved.styles,
            options=StylizeOptions(
                strength=request.strength,
                preserve_color=request.preserve_color,
                mask=request.mask,
                regions=resolved.regions,
                faces=request.faces or (None if request.look else "paint"),
                precision=request.precision,
                stroke=request.stroke,
                forms=request.forms,
                upscale=request.upscale,
                max_px=request.output.max_px,
                quality=request.output.quality,
            ),
            metadata=request.metadata,
            method=request.method,
            details=dict(resolved.details),
            look=request.look,
            looks=dict(resolved.looks),
            max_failures=request.max_failures,
            max_attempts=request.max_attempts or self._max_attempts,
            traceparent=traceparent(),
        )
        if request.input.uris is not None:
            entries = [InputEntry(uri=uri) for uri in request.input.uris]
            planned = list(plan_items(spec, entries, first_input=0, permissions=permissions))
            for item in refuse_taken(list(refuse_inputs(spec, entries, planned)), set()):
                if item.error is not None:
                    raise RequestInvalidError(
                        item.error.message, pointer=f"/input/uris/{item.index // len(spec.styles)}"
                    )
        return spec


class _Lookup:
    """Looks up what one tenant may use."""

    def __init__(self, database: Database, permissions: Permissions) -> None:
        self._database = database
        self._permissions = permissions

    def styles(self, texts: Sequence[str]) -> tuple[StyleRef, ...]:
        names = [result_name(text) for text in texts]
        if len(set(names)) != len(names):
            # Names of results contain the style, and so do the keys of items: allow one version of each style.
            raise RequestInvalidError("A style is named twice.", pointer="/styles")
        tenant = self._permissions.tenant
        with self._database.read() as connection:
            return tuple(
                find_painted(connection, tenant, text, pointer=f"/styles/{place}") for place, text in enumerate(texts)
            )

    def look(self, style: StyleRef, *, pointer: str) -> Look:
        with self._database.read() as connection:
            return find_look(connection, self._permissions.tenant, style, pointer=pointer)

    def style(self, text: str, *, pointer: str) -> StyleRef:
        with self._database.read() as connection:
            return find_painted(connection, self._permissions.tenant, text, pointer=pointer)

    def readable(self, text: str, *, pointer: str) -> BlobUri:
        return self._permissions.readable(text, pointer=pointer)


def _check_input(permissions: Permissions, input: JobInput) -> None:
    for place, uri in enumerate(input.uris or ()):
        permissions.readable(uri, pointer=f"/input/uris/{place}")
    if input.prefix is not None:
        permissions.readable(input.prefix, pointer="/input/prefix", is_prefix=True)
    if input.manifest is not None:
        permissions.readable(input.manifest, pointer="/input/manifest")
