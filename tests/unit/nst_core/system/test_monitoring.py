"""Tests of nst_core.system.monitoring."""

import shutil
import threading
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from nst_core.errors import ConfigError
from nst_core.system.monitoring import new_registry, serving
from scheduler.local.servers import HOST, free_port
from tests.servers import listens


def test_the_port_serves_the_metrics_of_the_process_and_its_disk(tmp_path: Path) -> None:
    registry, port = new_registry(disk=tmp_path), free_port()
    Counter("nst_things", "Things", registry=registry).inc()
    with serving(registry, host=HOST, port=port):
        text = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False).text
    assert not listens(port)
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    assert families["process_resident_memory_bytes"][0].value > 1 << 20
    assert families["nst_disk_bytes"][0].value == shutil.disk_usage(tmp_path).total
    assert 0 < families["nst_disk_free_bytes"][0].value <= families["nst_disk_bytes"][0].value
    assert [sample.name for sample in families["nst_things"]] == ["nst_things_total"]
    assert not any(name.endswith("_created") for name in families)


def test_a_folder_that_is_gone_has_no_disk(tmp_path: Path) -> None:
    registry = new_registry(disk=tmp_path / "gone")
    assert registry.get_sample_value("nst_disk_bytes") is None
    assert registry.get_sample_value("process_start_time_seconds")


def test_without_a_port_nothing_is_served() -> None:
    before = threading.active_count()
    with serving(CollectorRegistry(), host="an address that nobody looks up", port=None):
        assert threading.active_count() == before


def test_a_port_that_is_in_use_is_an_error_of_the_settings() -> None:
    registry, port = CollectorRegistry(), free_port()
    with (
        serving(registry, host=HOST, port=port),
        pytest.raises(ConfigError, match=f"NST_METRICS_PORT {port}: another process listens there"),
        serving(registry, host=HOST, port=port),
    ):
        pass
