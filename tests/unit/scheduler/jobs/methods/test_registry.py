"""Tests of scheduler.jobs.methods: the registry."""

import pytest

from nst_core.client.resources.methods import DEFAULT_METHOD
from nst_core.errors import ConfigError
from scheduler.jobs.methods import all_methods, find_method


def test_each_method_has_a_name_and_a_queue_of_its_own() -> None:
    methods = all_methods()
    assert set(methods) >= {"feedforward", "optimize"}
    assert len({method.queue for method in methods.values()}) == len(methods)
    assert all(find_method(name).name == name for name in methods)
    assert DEFAULT_METHOD in methods


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no method 'grey'; known: feedforward, optimize"):
        find_method("grey")
