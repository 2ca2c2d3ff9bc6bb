"""Fuzzing of the API with requests generated from its own document.

No request may cause a bug, an undocumented status, or an answer that breaks its schema. `make fuzz` sends more.
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nst_core.storage.blobs import BlobUri
from scheduler.api.app import make_api, make_hub
from scheduler.domain.keys import new_api_key
from scheduler.store.tenants import Tenant
from scheduler.webhooks.address import Rules
from scheduler.webhooks.service import WebhookService
from scheduler.webhooks.vault import Vault
from tests.integration.conftest import TENANT, Rig
from tests.integration.runs.kit import RunRig

schemathesis = pytest.importorskip("schemathesis")

VAULT_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
EXAMPLES = int(os.environ.get("NST_FUZZ_EXAMPLES", "10"))
#: Not in the document: a file has no rule except its length.
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_answers_match_the_document(rig: Rig) -> None:
    hub = make_hub(rig.service, rig.database)
    # Streams end at once, also if their job never ends in this test.
    hub.stop()
    webhooks = WebhookService(rig.database, vault=Vault(VAULT_KEY), rules=Rules(), clock=rig.clock)
    app = make_api(
        rig.service,
        database=rig.database,
        broker=rig.broker,
        blobs=rig.blobs,
        clock=rig.clock,
        hub=hub,
        webhook_service=webhooks,
    )
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT)
    rig.service.tenants.put(Tenant(id=TENANT, limits={"requests_per_s": None}))
    job_id = rig.submit(2)
    rig.run_to_end()
    for item in rig.service.items(TENANT, job_id, limit=2, after=-1):
        rig.blobs.put(BlobUri.parse(item.output), bytes(1000 + item.index))
    webhook = webhooks.create(TENANT, url="https://example.com/", types=("*",), description="", enabled=True)[0]
    known = {"job_id": job_id, "run_id": RunRig(rig).add(), "name": "wave", "item_id": 0, "tenant_id": TENANT}
    known |= {"webhook_id": webhook.id, "delivery_id": webhooks.test(TENANT, webhook.id).id}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ in CHECKS]
    assert len(checks) == len(CHECKS)
    failures, operations = [], 0
    for found in schema.get_all_operations():
        operation = found.ok()
        operations += 1

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), is_known=st.booleans())
        def check(case: Any, is_known: bool) -> None:
            if is_known:
                case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
            case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=checks)

        try:
            check()
        except BaseExceptionGroup as error:
            failures.append(f"{operation.label}: {error.args[0]}\n{error.exceptions}")
    assert operations > 60
    assert not failures, "\n\n".join(failures)
