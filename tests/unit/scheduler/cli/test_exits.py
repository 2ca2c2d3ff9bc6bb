"""Exit codes."""

import pytest

from nst_core.client import ApiError, UnreachableError
from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.errors import ConfigError, ImageDecodeError, NstError, WeightsError
from scheduler.cli.exits import (
    ConversionError,
    ExitCode,
    OutputIsInputError,
    PlaceError,
    UsageError,
    code_for_error,
    code_for_status,
)
from scheduler.local.home import HomeError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), ExitCode.USAGE),
        (OutputIsInputError("x"), ExitCode.USAGE),
        (UnreachableError("x"), ExitCode.UNREACHABLE),
        (ApiError(status=404, code="not_found", detail="x"), ExitCode.REFUSED),
        (ApiError(status=429, code="rate_limited", detail="x"), ExitCode.REFUSED),
        (ApiError(status=500, code="internal", detail="x"), ExitCode.REFUSED),
        (ApiError(status=502, code="http_502", detail="x"), ExitCode.UNREACHABLE),
        (ApiError(status=503, code="database_unavailable", detail="x"), ExitCode.UNREACHABLE),
        (ApiError(status=503, code="webhooks_disabled", detail="x"), ExitCode.REFUSED),
        (ApiError(status=504, code="http_504", detail="x"), ExitCode.UNREACHABLE),
        (WeightsError("x"), ExitCode.LOCAL),
        (ConversionError("x"), ExitCode.LOCAL),
        (ImageDecodeError("x"), ExitCode.LOCAL),
        (PlaceError("x"), ExitCode.LOCAL),
        (HomeError("x"), ExitCode.LOCAL),
        (ConfigError("x"), ExitCode.FAILED),
    ],
)
def test_each_kind_of_error_has_its_code(error: NstError, code: ExitCode) -> None:
    assert code_for_error(error) is code


def test_every_status_of_a_job_and_a_training_has_a_code() -> None:
    others = {
        "succeeded": ExitCode.OK,
        "partially_succeeded": ExitCode.PARTIAL,
        "cancelled": ExitCode.CANCELLED,
        "expired": ExitCode.CANCELLED,
        "paused": ExitCode.CANCELLED,
    }
    for status in (*JobStatus, *RunStatus):
        assert code_for_status(status) is others.get(status, ExitCode.FAILED)
