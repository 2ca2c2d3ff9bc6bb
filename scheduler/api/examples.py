"""Examples of what clients send and get, for the OpenAPI document: one or more for each of its schemas."""

from collections.abc import Mapping
from typing import Any

_VERSION = "4f" * 32

_STYLE: dict[str, Any] = {
    "name": "great_wave",
    "version": _VERSION,
    "card": {"title": "Under the Wave off Kanagawa", "artist": "Katsushika Hokusai", "year": "about 1831"},
}
_JOB: dict[str, Any] = {
    "id": "job_019ab5e0c8a43f9a10c2b4d1",
    "client_id": None,
    "status": "running",
    "stop": None,
    "method": "feedforward",
    "styles": [{"name": "great_wave", "version": _VERSION}],
    "paintings": [],
    "optimize": None,
    "input": {"count": None, "prefix": "s3://nst/photos/", "manifest": None},
    "output": {
        "prefix": "s3://nst/painted/",
        "format": "jpeg",
        "quality": 92,
        "name": "{stem}__{style}.{ext}",
        "max_px": 1600,
    },
    "strength": 1.0,
    "preserve_color": False,
    "metadata": {"album": "spring"},
    "priority": "normal",
    "deadline": None,
    "max_failures": 100,
    "max_attempts": None,
    "counts": {"total": 2000, "pending": 1200, "running": 240, "succeeded": 559, "failed": 1, "cancelled": 0},
    "created_at": "2026-11-22T12:00:00Z",
    "started_at": "2026-11-22T12:00:01Z",
    "finished_at": None,
    "error": None,
}
_ITEM: dict[str, Any] = {
    "id": 17,
    "input": "s3://nst/photos/harbour.jpg",
    "custom_id": None,
    "style": "great_wave",
    "status": "succeeded",
    "output": "s3://nst/painted/harbour__great_wave.jpg",
    "width": 1600,
    "height": 1067,
    "bytes": 402118,
    "sha256": "9c" * 32,
    "attempt": 1,
    "progress": None,
    "error": None,
    "warning": None,
}
_PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "Invalid request",
    "status": 422,
    "detail": "There is no style 'great_wafe'.",
    "instance": "/v1/jobs",
    "code": "request_invalid",
    "request_id": "req_3f9a10c2b4d1019ab5e0c8a4",
    "errors": [{"pointer": "/styles/0", "detail": "There is no style 'great_wafe'."}],
    "more_errors": 0,
}
_JOB_BODY: dict[str, Any] = {
    "input": {"prefix": "s3://nst/photos/"},
    "styles": ["great_wave"],
    "output": {"format": "jpeg", "max_px": 1600},
    "priority": "high",
    "expires_after_s": 3600,
    "max_failures": 100,
    "metadata": {"album": "spring"},
}
_OPTIMIZE_BODY: dict[str, Any] = {
    "input": {"uris": ["s3://nst/photos/harbour.jpg"]},
    "method": "optimize",
    "paintings": ["s3://nst/paintings/wheatfield.jpg"],
    "optimize": {"preset": "gatys2016"},
}
_CHECK: dict[str, Any] = {
    "valid": True,
    "photos": 2000,
    "items": 2000,
    "failing": 1,
    "truncated": False,
    "objects_checked": 100,
    "problems": [
        {
            "code": "input_invalid",
            "message": 'Line 17 of the manifest: it is no JSON object with a text "input".',
            "pointer": None,
            "line": 17,
            "input": None,
        }
    ],
    "estimated_s": 240.0,
}
_TRAIN_BODY: dict[str, Any] = {
    "name": "wheatfield",
    "painting": "s3://nst/paintings/wheatfield.jpg",
    "data": "s3://nst/photos/training/",
    "preset": "standard",
    "stroke": 1.25,
    "samples": ["s3://nst/photos/harbour.jpg"],
    "about": {"title": "Wheatfield with Crows", "artist": "Vincent van Gogh", "year": "1890"},
}
_RUN: dict[str, Any] = {
    "id": "run_019ab5e0c8a43f9a10c2b4d1",
    "name": "wheatfield",
    "status": "running",
    "step": 1250,
    "steps": 4000,
    "preset": "standard",
    "stroke": 1.25,
    "strength": 1.0,
    "config": {"steps": 4000, "batch_size": 2, "size_px": 256},
    "painting": "s3://nst/paintings/wheatfield.jpg",
    "data": "s3://nst/photos/training/",
    "photos": {
        "count": 1226,
        "held_out": 16,
        "skipped": 1,
        "reasons": {"torn.jpg": "The image is damaged."},
        "warning": None,
    },
    "warning": None,
    "losses": {"content": 91000.0, "style": 54000.0},
    "steps_per_s": 1.9,
    "eta_s": 1447.0,
    "note": None,
    "worker": "worker-2",
    "attempt": 3,
    "failures": 0,
    "segments": 2,
    "checkpoints": [
        {
            "step": 1000,
            "sha256": "7a" * 32,
            "uri": "s3://nst/tenants/gallery/runs/run_019ab5e0c8a43f9a10c2b4d1/checkpoints/00001000-2-9f3c51aa.safetensors",
        }
    ],
    "evaluation": None,
    "version": None,
    "published": False,
    "parent": None,
    "publish": True,
    "exact": False,
    "about": {"title": "Wheatfield with Crows", "artist": "Vincent van Gogh", "year": "1890"},
    "error": None,
    "created_at": "2026-11-22T12:00:00Z",
    "started_at": "2026-11-22T12:00:02Z",
    "finished_at": None,
}
_SAMPLE: dict[str, Any] = {
    "id": "harbour_00001250.jpg",
    "name": "harbour",
    "step": 1250,
    "uri": "s3://nst/tenants/gallery/runs/run_019ab5e0c8a43f9a10c2b4d1/samples/harbour_00001250.jpg",
    "href": "/v1/runs/run_019ab5e0c8a43f9a10c2b4d1/samples/harbour_00001250.jpg",
}
_STYLE_VERSION: dict[str, Any] = _STYLE | {
    "current": True,
    "published": True,
    "run": None,
    "created_at": "2026-11-22T12:00:00Z",
}
_PRESET: dict[str, Any] = {
    "name": "gatys2016",
    "summary": "content + gram; L-BFGS, 500 iterations, 512 px",
    "config": {"iterations": 500, "size_px": 512},
}
_KEY: dict[str, Any] = {
    "id": "3f9a10c2",
    "name": "nightly batch",
    "tenant": "gallery",
    "scopes": ["jobs:read", "jobs:write"],
    "status": "active",
    "created_at": "2026-11-22T12:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-22T12:41:00Z",
    "previous_until": None,
}
_TENANT: dict[str, Any] = {
    "id": "gallery",
    "weight": 2.0,
    "read": ["s3://photos/2026/"],
    "write": None,
    "overrides": {"max_items_per_job": 10_000},
    "limits": {
        "max_queued_items": 10_000_000,
        "max_unfinished_jobs": 1000,
        "max_items_per_job": 10_000,
        "max_unfinished_runs": 10,
        "max_upload_bytes": 104857600,
        "max_body_bytes": 8388608,
        "requests_per_s": 50.0,
        "burst": 100,
        "max_keys": 1000,
        "max_uploads": 100_000,
        "max_streams": 100,
        "max_result_pixels": None,
    },
    "usage": {"queued_items": 1440, "unfinished_jobs": 2, "unfinished_runs": 1},
}
_WEBHOOK: dict[str, Any] = {
    "id": "whk_019ab5e0c8a43f9a10c2b4d1",
    "url": "https://example.com/hooks/nst",
    "types": ["job.completed", "run.completed"],
    "description": "The gallery",
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "old_secret_until": None,
    "created_at": "2026-11-22T12:00:00Z",
}
_DELIVERY: dict[str, Any] = {
    "id": 41,
    "message_id": "msg_3f9a10c2b4d1019ab5e0c8a4",
    "type": "job.completed",
    "status": "pending",
    "error": "The receiver answered 500.",
    "tries": [{"at": "2026-11-22T12:00:00Z", "status": 500, "error": None, "ms": 45}],
    "next_try_at": "2026-11-22T12:00:05Z",
    "created_at": "2026-11-22T12:00:00Z",
    "done_at": None,
}
_UPLOAD: dict[str, Any] = {
    "id": "upl_3f9a10c2b4d1019ab5e0c8a4",
    "prefix": "s3://nst/tenants/gallery/uploads/upl_3f9a10c2b4d1019ab5e0c8a4/",
    "created_at": "2026-11-22T12:00:00Z",
    "used_at": "2026-11-22T12:00:00Z",
}
_ERROR: dict[str, Any] = {
    "code": "request_invalid",
    "status": 422,
    "meaning": "A field of the request has a value that cannot be used.",
}

#: Lines of the reports of a job, and of the losses of a run.
RESULTS = (
    '{"id": 17, "custom_id": null, "input": "s3://nst/photos/harbour.jpg", "style": "great_wave", '
    f'"method": "feedforward", "style_version": "{_VERSION}", '
    f'"output": "s3://nst/painted/harbour__great_wave.jpg", "sha256": "{_ITEM["sha256"]}", '
    '"bytes": 402118, "width": 1600, "height": 1067, "ms": 212, "attempt": 1, "warning": null}\n'
)
ERRORS = (
    '{"id": 18, "custom_id": null, "input": "s3://nst/photos/torn.jpg", "style": "great_wave", '
    '"code": "image_undecodable", "message": "The image is damaged."}\n'
)


def _page(entry: dict[str, Any], *, id: str = "id") -> dict[str, Any]:
    return {"data": [entry], "first_id": entry[id], "last_id": entry[id], "has_more": False}


#: By the name of the schema.
EXAMPLES: Mapping[str, list[dict[str, Any]]] = {
    "CheckView": [_CHECK],
    "DeliveryPage": [_page(_DELIVERY)],
    "DeliveryView": [_DELIVERY],
    "ErrorCodePage": [_page(_ERROR, id="code")],
    "ExtendBody": [{"steps": 8000}],
    "ForkBody": [{"steps": 2000, "name": "wheatfield_bold", "strength": 1.5}],
    "InputPage": [_page({"id": 0, "uri": "s3://nst/photos/harbour.jpg"})],
    "ItemPage": [_page(_ITEM)],
    "ItemView": [_ITEM],
    "JobBody": [_JOB_BODY, _OPTIMIZE_BODY],
    "JobPage": [_page(_JOB)],
    "JobView": [_JOB],
    "KeyBody": [{"name": "nightly batch", "scopes": ["jobs:read", "jobs:write"]}],
    "KeyPage": [_page(_KEY)],
    "KeyView": [_KEY],
    "LiveView": [{"status": "alive"}],
    "NewKeyView": [_KEY | {"key": "nst_3f9a10c2_…"}],
    "NewSecretView": [_WEBHOOK | {"secret": "whsec_…"}],
    "OwnTenantView": [_TENANT | {"key": _KEY}],
    "PresetPage": [_page(_PRESET, id="name")],
    "Problem": [_PROBLEM],
    "PublishBody": [{"version": "4f4f4f4f"}],
    "ReadyView": [{"status": "ready", "checks": {"database": "ok", "broker": "ok", "storage": "ok"}}],
    "ReplayedView": [{"replayed": 3}],
    "RetryBody": [{"codes": ["blob_unavailable", "worker_lost"]}, {"cancelled": True}],
    "RotateBody": [{"overlap_s": 3600}],
    "RunPage": [_page(_RUN)],
    "RunView": [_RUN],
    "SamplePage": [_page(_SAMPLE)],
    "StyleBody": [{"weights": "s3://nst/weights/great_wave.safetensors", "card": _STYLE["card"]}],
    "StylePage": [_page(_STYLE, id="name")],
    "StyleView": [_STYLE],
    "TenantBody": [{"weight": 2, "read": ["s3://photos/2026/"], "limits": {"max_items_per_job": 10_000}}],
    "TenantPage": [_page(_TENANT)],
    "TenantView": [_TENANT],
    "TrainBody": [_TRAIN_BODY],
    "UploadFilePage": [_page({"path": "2026/harbour.jpg", "bytes": 4_271_008}, id="path")],
    "UploadPage": [_page(_UPLOAD)],
    "UploadView": [_UPLOAD],
    "UploadedView": [{"uri": "s3://nst/tenants/gallery/uploads/upl_3f9a10c2b4d1019ab5e0c8a4/2026/harbour.jpg"}],
    "VersionPage": [_page(_STYLE_VERSION, id="version")],
    "WebhookBody": [
        {
            "url": "https://example.com/hooks/nst",
            "types": ["job.completed", "run.completed"],
            "description": "The gallery",
        }
    ],
    "WebhookChanges": [{"enabled": True}],
    "WebhookPage": [_page(_WEBHOOK)],
    "WebhookView": [_WEBHOOK],
}
