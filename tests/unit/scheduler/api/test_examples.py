"""Tests of scheduler.api.examples; tests/integration/test_document.py has those in the OpenAPI document."""

import json

from scheduler.api.examples import ERRORS, RESULTS
from scheduler.jobs.finalizer import error_line, result_line
from scheduler.store.items import Item


def test_examples_of_reports_are_valid_report_lines() -> None:
    made = Item(**dict.fromkeys(Item.__dataclass_fields__))  # type: ignore[arg-type]
    assert list(json.loads(RESULTS)) == list(result_line(made, {"method": "feedforward", "style_version": "a"}))
    assert list(json.loads(ERRORS)) == list(error_line(made))
