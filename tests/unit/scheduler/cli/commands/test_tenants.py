"""`nst tenants`, against prepared answers."""

import json

from nst_core.client import Limits
from tests.unit.scheduler.canned_api import Answer, CannedApi
from tests.unit.scheduler.cli.conftest import Run


def test_tenants_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    usage = {"queued_items": 1234, "unfinished_jobs": 2, "unfinished_runs": 0}
    limits = dict.fromkeys(Limits.model_fields, 5)
    lab = {"id": "lab", "weight": 2, "read": None, "write": None, "overrides": {}, "limits": limits, "usage": usage}
    api.on("GET", "/v1/tenants?limit=200", Answer(body={"data": [lab], "has_more": False, "last_id": "lab"}))
    assert "1,234" in here("tenants", "list")[1]
    assert json.loads(here("tenants", "list", "--json")[1]) == [lab]
