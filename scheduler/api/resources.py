"""Makes the API's resources from what the store and the services return."""

from datetime import UTC, datetime
from typing import Any

from nst_core.client.resources import access, items, jobs, runs, styles, uploads, webhooks
from nst_core.client.resources.base import LAST_MOMENT, Failure
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.client.resources.styles import JobStyle, StylePart
from nst_core.client.resources.webhooks import DeliveryStatus
from nst_core.protocol.chunks import StyleRef
from nst_core.training.sources import few_photos
from scheduler.access.limits import Limits
from scheduler.domain.jobs import Job
from scheduler.domain.runs import Run, SegmentState
from scheduler.jobs.methods import find_method
from scheduler.runs.files import Sample
from scheduler.runs.service import RunDetails
from scheduler.store.items import Item
from scheduler.store.keys import ApiKey
from scheduler.store.styles import StyleRow
from scheduler.store.tenants import Tenant, Usage
from scheduler.store.uploads import Upload
from scheduler.store.versions import VersionRow
from scheduler.store.webhooks import Delivery, Webhook


def moment(seconds: float) -> datetime:
    """Return the time of a Unix timestamp, at most `LAST_MOMENT`."""
    return datetime.fromtimestamp(min(seconds, LAST_MOMENT.timestamp()), UTC)


def moment_if(seconds: float | None) -> datetime | None:
    """Return the time of a Unix timestamp, or None."""
    return None if seconds is None else moment(seconds)


def job_of(job: Job) -> jobs.Job:
    """Return a job."""
    spec, options = job.spec, job.spec.options
    return jobs.Job(
        id=job.id,
        client_id=job.client_id,
        status=job.status,
        stop=job.stop,
        method=spec.method,
        styles=[_job_style(style) for style in spec.styles],
        regions=[jobs.JobRegion(style=_job_style(each.style), mask=each.mask) for each in options.regions],
        **find_method(spec.method).shown(spec),
        input=jobs.InputSummary(count=job.input_count, prefix=spec.input.prefix, manifest=spec.input.manifest),
        output=jobs.ResolvedOutput(
            prefix=spec.output.prefix,
            format=spec.output.format,
            quality=options.quality,
            name=spec.output.name,
            max_px=options.max_px,
        ),
        strength=options.strength,
        preserve_color=options.preserve_color,
        mask=options.mask,
        faces=options.faces,
        precision=options.precision,
        look=spec.look,
        stroke=options.stroke,
        forms=options.forms,
        upscale=options.upscale,
        metadata=spec.metadata,
        priority=job.priority,
        deadline=moment_if(job.deadline),
        max_failures=spec.max_failures,
        max_attempts=spec.max_attempts,
        counts=job.counts,
        created_at=moment(job.created_at),
        started_at=moment_if(job.started_at),
        finished_at=moment_if(job.finished_at),
        error=_failure(job.error_code, job.error_message),
    )


def _job_style(style: StyleRef) -> JobStyle:
    parts = [StylePart(name=part.name, version=part.version, share=part.share) for part in style.parts]
    return JobStyle(name=style.name, version=style.version, parts=parts)


def item_of(item: Item) -> items.Item:
    """Return an item."""
    return items.Item(
        id=item.index,
        input=item.input,
        custom_id=item.custom_id,
        mask=item.mask,
        regions=item.regions or (),
        style=item.style,
        status=item.status,
        output=item.output if item.status is ItemStatus.SUCCEEDED else None,
        width=item.width,
        height=item.height,
        bytes=item.bytes,
        sha256=item.sha256,
        engine=item.engine,
        precision=item.precision,
        attempt=item.attempt,
        progress=item.progress,
        error=_failure(item.error_code, item.error_message),
        warning=item.warning,
    )


def run_of(details: RunDetails) -> runs.Run:
    """Return a run."""
    run, spec = details.run, details.run.spec
    photos = _photos(run)
    return runs.Run(
        id=run.id,
        name=run.name,
        status=run.status,
        steps=run.steps,
        family=spec.family,
        preset=spec.preset,
        stroke=spec.stroke,
        strength=spec.strength,
        config=run.config or spec.config,
        painting=spec.painting.uri,
        data=spec.photos,
        photos=photos,
        warning=photos.warning or spec.warning,
        **_progress(run),
        work_s=run.train_seconds,
        worker=run.worker,
        attempt=run.attempt,
        failures=run.failures,
        segments=details.segments,
        checkpoints=[
            runs.KeptCheckpoint(step=segment.to_step, sha256=segment.checkpoint.sha256, uri=segment.checkpoint.uri)
            for segment in details.kept
            if segment.checkpoint is not None
        ],
        evaluation=None if run.result is None else run.result["evaluation"],
        version=run.version,
        published=details.published,
        parent=spec.parent,
        publish=spec.publish,
        exact=spec.exact,
        about=spec.about,
        error=_failure(run.error_code, run.error_message),
        created_at=moment(run.created_at),
        started_at=moment_if(run.started_at),
        finished_at=moment_if(run.finished_at),
    )


def sample_of(sample: Sample, *, href: str) -> runs.Sample:
    """Return a sample; `href` is the path of its picture."""
    return runs.Sample(id=sample.file, name=sample.name, step=sample.step, uri=sample.uri, href=href)


def style_of(style: StyleRow) -> styles.Style:
    """Return a style."""
    return styles.Style(name=style.name, version=style.version, index=style.index, card=style.card)


def version_of(row: VersionRow, *, present: str | None) -> styles.StyleVersion:
    """Return a version of a style; `present` is the current version."""
    return styles.StyleVersion(
        name=row.name,
        version=row.version,
        index=row.index,
        card=row.card,
        current=row.version == present,
        published=row.published_at is not None,
        run=row.run_id,
        created_at=moment(row.created_at),
    )


def upload_of(upload: Upload, *, prefix: str) -> uploads.Upload:
    """Return an upload."""
    return uploads.Upload(
        id=upload.id, prefix=prefix, created_at=moment(upload.created_at), used_at=moment(upload.used_at)
    )


def key_of(key: ApiKey, *, now: float) -> access.Key:
    """Return a key."""
    return access.Key(**_key(key, now))


def new_key_of(key: ApiKey, text: str, *, now: float) -> access.NewKey:
    """Return a key with its secret."""
    return access.NewKey(**_key(key, now), key=text)


def tenant_of(tenant: Tenant, limits: Limits, usage: Usage) -> access.Tenant:
    """Return a tenant."""
    return access.Tenant(**_tenant(tenant, limits, usage))


def own_tenant_of(
    tenant: Tenant, limits: Limits, usage: Usage, key: access.Key, *, training_photos: bool
) -> access.OwnTenant:
    """Return the tenant of a key."""
    return access.OwnTenant(**_tenant(tenant, limits, usage), key=key, training_photos=training_photos)


def webhook_of(webhook: Webhook) -> webhooks.Webhook:
    """Return a webhook."""
    return webhooks.Webhook(**_webhook(webhook))


def new_secret_of(webhook: Webhook, secret: str) -> webhooks.NewSecret:
    """Return a webhook with its new secret."""
    return webhooks.NewSecret(**_webhook(webhook), secret=secret)


def delivery_of(delivery: Delivery) -> webhooks.Delivery:
    """Return a delivery."""
    return webhooks.Delivery(
        id=delivery.id,
        message_id=delivery.message_id,
        type=delivery.type,
        status=delivery.status,
        error=delivery.error,
        tries=[webhooks.Try(**{**each, "at": moment(each["at"])}) for each in delivery.tries],
        next_try_at=moment_if(delivery.next_at) if delivery.status is DeliveryStatus.PENDING else None,
        created_at=moment(delivery.created_at),
        done_at=moment_if(delivery.done_at),
    )


def _failure(code: str | None, message: str | None) -> Failure | None:
    return None if code is None else Failure(code=code, message=message or "")


def _photos(run: Run) -> runs.Photos:
    """Return the progress from the worker's report or, before the first report, from the scheduler's counts."""
    if run.photos is not None:
        return runs.Photos.model_validate(run.photos)
    count = run.spec.photo_count
    held_out = min(run.spec.held_out, count // 2)
    return runs.Photos(count=count - held_out, held_out=held_out, warning=few_photos(count))


def _progress(run: Run) -> dict[str, Any]:
    """Return the fields of a run that come from its worker's last report."""
    progress = run.progress or {}
    at_work = run.live is SegmentState.RUNNING
    step = max(run.step, progress.get("step", 0)) if at_work else run.step
    steps_per_s: float | None = progress.get("steps_per_s") or None
    training = at_work and run.status is RunStatus.RUNNING
    return {
        "step": step,
        "losses": progress.get("losses") or None,
        "steps_per_s": steps_per_s,
        "eta_s": (run.steps - step) / steps_per_s if training and steps_per_s else None,
        "note": (progress.get("note") or None) if at_work else None,
    }


def _key(key: ApiKey, now: float) -> dict[str, Any]:
    expired = key.expires_at is not None and now >= key.expires_at
    return {
        "id": key.prefix,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "status": "revoked" if key.revoked_at is not None else "expired" if expired else "active",
        "created_at": moment(key.created_at),
        "expires_at": moment_if(key.expires_at),
        "revoked_at": moment_if(key.revoked_at),
        "last_used_at": moment_if(key.last_used_at),
        "previous_until": moment_if(key.previous_until),
    }


def _tenant(tenant: Tenant, limits: Limits, usage: Usage) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "weight": tenant.weight,
        "read": tenant.read,
        "write": tenant.write,
        "overrides": tenant.limits,
        "limits": access.Limits(**vars(limits)),
        "usage": access.Usage(**vars(usage)),
    }


def _webhook(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "types": webhook.types,
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": moment_if(webhook.failing_since),
        "old_secret_until": moment_if(webhook.old_secret_until),
        "created_at": moment(webhook.created_at),
    }
