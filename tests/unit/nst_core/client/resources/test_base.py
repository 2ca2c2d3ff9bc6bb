"""The bodies of requests: what no field of any of them takes."""

import importlib
import pkgutil
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from nst_core.client import resources
from nst_core.client.resources.base import Request, is_number
from nst_core.client.resources.jobs import JobRequest
from nst_core.client.resources.runs import TrainRequest
from nst_core.client.resources.sentences import sentence

MODULES = [
    importlib.import_module(f"{resources.__name__}.{found.name}") for found in pkgutil.iter_modules(resources.__path__)
]
REQUESTS = sorted(
    {
        each
        for module in MODULES
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Request) and each.model_fields
    },
    key=lambda each: each.__name__,
)
FIELDS = [pytest.param(each, name, id=f"{each.__name__}.{name}") for each in REQUESTS for name in each.model_fields]
SWITCHES = {
    "ForkRequest.publish",
    "JobRequest.preserve_color",
    "RetryRequest.cancelled",
    "StyleRequest.replace",
    "TrainRequest.exact",
    "TrainRequest.publish",
    "WebhookChanges.enabled",
    "WebhookRequest.enabled",
}


@pytest.mark.parametrize(("request_class", "name"), FIELDS)
def test_only_switches_take_true_and_false(request_class: type[Request], name: str) -> None:
    for value in (True, False):
        try:
            request_class.model_validate({name: value})
            refused = False
        except ValidationError as error:
            refused = any(each["loc"][0] == name for each in error.errors())
        assert refused is (f"{request_class.__name__}.{name}" not in SWITCHES)


@pytest.mark.parametrize(
    ("request_class", "name"),
    [(JobRequest, "strength"), (JobRequest, "upscale"), (JobRequest, "max_attempts"), (TrainRequest, "seed")],
)
def test_true_is_no_number(request_class: type[Request], name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        request_class.model_validate({name: True})
    [error] = [each for each in caught.value.errors() if each["loc"] == (name,)]
    assert sentence(error) == "This is a number."


@pytest.mark.parametrize(
    ("annotation", "number"),
    [
        (int, True),
        (float | None, True),
        (Annotated[int, Field(ge=1)], True),
        (Annotated[float, Field(ge=0)] | None, True),
        (Literal[1, 2], True),
        (bool, False),
        (bool | None, False),
        (float | str, False),
        (Literal["auto"], False),
        (dict[str, int], False),
    ],
)
def test_a_number_is_a_type_of_nothing_else(annotation: object, number: bool) -> None:
    assert is_number(annotation) is number
