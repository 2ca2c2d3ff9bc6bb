"""The bodies of requests: what no field of any of them takes."""

import importlib
import pkgutil

import pytest
from pydantic import ValidationError

from nst_core.client import resources
from nst_core.client.resources.base import Request

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


@pytest.mark.parametrize(("request_class", "name"), FIELDS)
def test_only_switches_take_true_and_false(request_class: type[Request], name: str) -> None:
    is_switch = request_class.model_fields[name].annotation in (bool, bool | None)
    for value in (True, False):
        try:
            request_class.model_validate({name: value})
            refused = False
        except ValidationError as error:
            refused = any(each["loc"] == (name,) for each in error.errors())
        assert refused is not is_switch


def test_there_are_requests_with_numbers_and_with_switches() -> None:
    assert {"JobRequest", "TrainRequest", "StyleRequest", "TenantRequest"} <= {each.__name__ for each in REQUESTS}
