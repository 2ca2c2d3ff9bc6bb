"""Examples of the files that jobs write, and responses in the OpenAPI document for routes that return files."""

from http import HTTPStatus

#: Lines of a job's reports.
RESULTS = (
    '{"id": 17, "custom_id": null, "input": "s3://nst/photos/harbour.jpg", "style": "great_wave", '
    f'"method": "feedforward", "style_version": "{"4f" * 32}", '
    f'"output": "s3://nst/painted/harbour__great_wave.jpg", "sha256": "{"9c" * 32}", '
    '"bytes": 402118, "width": 1600, "height": 1067, "ms": 212, "engine": "openvino", "precision": "fp32", '
    '"attempt": 1, "warning": null}\n'
)
ERRORS = (
    '{"id": 18, "custom_id": null, "input": "s3://nst/photos/torn.jpg", "style": "great_wave", '
    '"code": "image_undecodable", "message": "The image is damaged."}\n'
)


def files(*media_types: str, example: str | None = None) -> dict[int | str, dict[str, object]]:
    """Return the `responses` of a route that returns a file."""
    shown: dict[str, object] = {} if example is None else {"example": example}
    content = {kind: {"schema": {"type": "string", "format": "binary"}} | shown for kind in media_types}
    return {200: {"description": HTTPStatus.OK.phrase, "content": content}}
