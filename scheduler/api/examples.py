"""Examples of what the API answers, for its document."""

from typing import Any

_VERSION = "4f" * 32

STYLE: dict[str, Any] = {
    "name": "great_wave",
    "version": _VERSION,
    "card": {"title": "Under the Wave off Kanagawa", "artist": "Katsushika Hokusai", "year": "about 1831"},
}
JOB: dict[str, Any] = {
    "id": "job_0193a1b2c3d4e5f60718293a",
    "client_id": None,
    "status": "running",
    "stop": None,
    "method": "feedforward",
    "styles": [{"name": "great_wave", "version": _VERSION}],
    "paintings": [],
    "optimize": None,
    "input": {"prefix": "s3://nst/photos/"},
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
ITEM: dict[str, Any] = {
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
}
PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "Invalid request",
    "status": 422,
    "detail": "There is no style 'great_wafe'.",
    "instance": "/v1/jobs",
    "code": "request_invalid",
    "request_id": "req_0193a1b2c3d4",
    "errors": [{"pointer": "/styles/0", "detail": "There is no style 'great_wafe'."}],
}
