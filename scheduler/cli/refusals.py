"""What the API would refuse, found out before photos are uploaded for nothing."""

from collections.abc import Sequence

from nst_core.client import ApiError, Client
from nst_core.client.resources.jobs import CheckProblem, JobRequest
from nst_core.errors import ConfigError
from scheduler.cli.exits import UsageError
from scheduler.cli.transfer.inputs import own_limits
from scheduler.domain.jobs import check_client_id


def check_own_id(own_id: str | None) -> None:
    """Raise UsageError for an id that no job may have."""
    if own_id is None:
        return
    try:
        check_client_id(own_id)
    except ConfigError as error:
        raise UsageError(f"--id {own_id!r}: {error.message}") from error


def check_style_name(client: Client, name: str) -> None:
    """Raise ApiError if a style's name comes with nst; names of one's own may be the same where nst got them later."""
    from nst_core.styles import shipped_styles, version_of  # late, because it needs NumPy

    shipped = {style.name: style for style in shipped_styles()}.get(name)
    if shipped is None:
        return
    try:
        present = client.style(name)
    except ApiError as error:
        if error.code != "not_found":
            raise
        return  # a scheduler of another version, which will tell
    if present.version == version_of(shipped.weights()):
        message = f"The style {name!r} comes with nst and can be neither replaced nor deleted; take another name."
        raise ApiError(status=409, code="style_exists", detail=message)


def check_request(client: Client, request: JobRequest, *, photos: int) -> None:
    """Raise ApiError if the API would refuse a job as a whole.

    `request` names the first of its photos alone, which need not be in the storage yet; `photos` is the number of all.
    """
    try:
        check = client.check(request, objects=False)
    except ApiError as error:
        if error.code != "rate_limited":
            raise
        return  # others are asking; the submission will tell
    # A request that is refused as a whole counts no photos. Otherwise, something may be wrong with this photo alone.
    refused = check.problems if not check.photos else too_many(client, photos * max(1, check.items))
    for problem in refused:
        place = f" ({problem.pointer})" if problem.pointer else ""
        raise ApiError(status=422, code=problem.code, detail=problem.message + place)


def too_many(client: Client, items: int) -> Sequence[CheckProblem]:
    """Return a problem if a job cannot have that many images."""
    limits = own_limits(client)
    most = None if limits is None else limits.max_items_per_job
    if most is None or items <= most:
        return []
    return [
        CheckProblem(code="quota_exceeded", message=f"A job may have at most {most:,.0f} images.", pointer="/input")
    ]
