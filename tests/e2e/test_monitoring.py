"""A running stack serves exactly the metrics of the table, and Prometheus finds data for each panel and each alert.

All lines that it logs have the fields of the table, and lead from a request to its images, and so do its traces.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from nst_core.client import Client
from nst_core.client.resources.runs import RunStatus, TrainRequest
from scheduler.local.embedded import Stack
from scheduler.local.servers import HOST, free_port
from tests.collector import Collector, collecting
from tests.faults.harness import finish, submit, upload
from tests.monitoring import FOLDER, Documented, dashboard_queries, documented, documented_fields
from tests.photos import bad_files, encoded, small_photos
from tests.processes import wait_until
from tests.servers import listens, run_server

#: A network and pictures so small that a step takes almost no time.
TINY: dict[str, Any] = {
    "transformer": {"width": 4, "blocks": 1, "output": "tanh"},
    "size_px": 64,
    "batch_size": 1,
    "style_size_px": 64,
    "content_layer": "relu1_2",
    "style_weights": {"relu1_1": 1.0},
}
STEPS = 4
PROMETHEUS = shutil.which("prometheus")


def ports_in_a_row() -> int:
    """Return a free port whose next one is free as well."""
    return next(port for port in iter(free_port, None) if not listens(port + 1))


@pytest.fixture(scope="module")
def port() -> int:
    """The port of the scheduler's metrics; that of the worker's follows."""
    return ports_in_a_row()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector of the traces of both processes."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, port: int, collector: Collector) -> Iterator[Stack]:
    env = {"NST_METRICS_PORT": str(port), "NST_TRAIN_COMPILE": "false", "NST_TRAIN_SEGMENT_S": "1"}
    env |= {"NST_LOG_FORMAT": "json", "NST_LOG_LEVEL": "DEBUG"}
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Stack(tmp_path_factory.mktemp("home"), workers=1, env=env) as stack:
        wait_until(lambda: listens(port + 1), seconds=120)
        yield stack


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[httpx.Client | None]:
    """Let Prometheus read both ports every second; yields a client of its API, or None if it is not installed."""
    if PROMETHEUS is None:
        yield None
        return
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    config = (FOLDER / "prometheus.yaml").read_text().replace("15s", "1s").replace(', "127.0.0.1:9602"', "")
    config = config.replace("9600", str(port)).replace("9601", str(port + 1))
    (folder / "prometheus.yaml").write_text(config)
    own = free_port()
    command = [
        *(PROMETHEUS, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address={HOST}:{own}", "--log.level=error"),
    ]
    with run_server(command, own), httpx.Client(base_url=f"http://{HOST}:{own}/api/v1", trust_env=False) as client:
        wait_until(lambda: client.get("http://" + f"{HOST}:{own}/-/ready").is_success, seconds=60)
        yield client


def answer(client: httpx.Client, query: str) -> list[Any]:
    """Return the series that a query finds now."""
    response = client.get("/query", params={"query": query})
    assert response.is_success, response.text
    return list(response.json()["data"]["result"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, stack: Stack, port: int) -> Iterator[httpx.Client | None]:
    """Prometheus, that has seen a job with a photo and a file that is none, and a training."""
    with prometheus(tmp_path_factory.mktemp("prometheus"), port) as server, stack.client() as client:
        if server is not None:
            wait_until(lambda: len(answer(server, "up == 1")) == 2, seconds=60)
        outcome = finish(stack, client, submit(client, upload(client, small_photos(1) | bad_files()), ["udnie"]))
        assert (outcome.job.counts.succeeded, outcome.job.counts.failed) == (1, 5)
        train(client)
        yield server


def train(client: Client) -> None:
    """Train a tiny style to its end."""
    data = upload(client, small_photos(6))[0].rpartition("/")[0] + "/"
    request = TrainRequest(name="night", data=data, steps=STEPS, held_out=1, initial="none", options=TINY)
    painting = encoded(Image.radial_gradient("L").resize((96, 80)).convert("RGB"), "PNG")
    run = client.runs.wait(client.runs.train(request, painting=painting).id, poll_s=0.1, timeout_s=600)
    assert run.status is RunStatus.SUCCEEDED, run


def served(port: int) -> list[Documented]:
    """Return the metrics that a port serves."""
    text = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False).text
    found = []
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le", "quantile"}
        assert family.samples, family.name
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.append(Documented(name=name, type=family.type, labels=frozenset(labels)))
    return found


@pytest.mark.parametrize(("process", "offset"), [("Scheduler", 0), ("Worker", 1)])
def test_the_table_has_the_metrics_that_a_process_serves(
    watched: httpx.Client | None, port: int, process: str, offset: int
) -> None:
    by_name = {metric.name: metric for metric in served(port + offset)}
    assert by_name == {metric.name: metric for metric in documented(process)}


def test_the_metrics_tell_what_was_done(watched: httpx.Client | None, port: int) -> None:
    values = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for at in (port, port + 1)
        for family in text_string_to_metric_families(httpx.get(f"http://{HOST}:{at}/metrics", trust_env=False).text)
        for sample in family.samples
    }
    assert values["nst_items_total", "feedforward", "succeeded"] == 1
    assert values["nst_items_total", "feedforward", "failed"] == 5
    assert values["nst_stage_seconds_count", "put"] == 1
    assert 0 < values["nst_stage_seconds_sum", "stylize"] < 600
    assert values["nst_training_steps_total",] == STEPS
    assert values["nst_queue_items", "feedforward", "queued"] == values["nst_work_seconds", "train"] == 0
    assert values["nst_worker_ready",] == values["nst_dependency_up", "storage"] == 1
    assert values["nst_http_request_seconds_count", "POST", "/v1/jobs", "202"] == 1


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (apt-get install prometheus)")
def test_prometheus_finds_data_for_each_panel_and_no_alert(watched: httpx.Client) -> None:
    # A rate needs two readings after the last change.
    time.sleep(2.5)
    empty = [
        (title, query)
        for title, query in dashboard_queries()
        if not answer(watched, query.replace("$__rate_interval", "5m"))
    ]
    assert empty == []
    rules = watched.get("/rules").json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert firing == [], json.dumps(rules, indent=1)


@pytest.fixture(scope="module")
def lines(watched: httpx.Client | None, stack: Stack) -> list[dict[str, Any]]:
    """All lines of the scheduler and of the worker, which has been told to end by now."""
    worker = stack.children["worker-1"]
    worker.terminate()
    wait_until(lambda: worker.poll() is not None, seconds=60)
    texts = [(stack.home.logs / f"{name}.log").read_text() for name in ("scheduler", "worker-1")]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_each_line_has_the_fields_of_the_table_alone(lines: list[dict[str, Any]], stack: Stack) -> None:
    fields = documented_fields()
    always = list(fields)[:6]
    for line in lines:
        assert list(line)[:6] == always, line
        assert {name: type(value) for name, value in line.items()} == {name: fields[name] for name in line}
    # Nothing has failed so badly here.
    assert set().union(*lines) == fields.keys() - {"exception"}
    assert {line["role"] for line in lines} == {"scheduler", "worker"}
    assert {"celery.worker.consumer.connection", "worker.runtime.celery_logs"} <= {line["logger"] for line in lines}
    assert lines[-1]["role"] == "worker"


def test_lines_lead_from_the_request_to_each_image(lines: list[dict[str, Any]]) -> None:
    (accepted,) = [line for line in lines if line["message"].endswith(" was accepted: feedforward")]
    assert accepted["request_id"].startswith("req_")
    assert accepted["tenant"] == "default"
    job = [line for line in lines if line.get("job_id") == accepted["job_id"]]
    images = {line["item"]: line for line in job if "item" in line}
    assert images.keys() == set(range(6))
    assert {(line["role"], line["attempt"]) for line in images.values()} == {("worker", 1)}
    (chunk_id,) = {line["chunk_id"] for line in images.values()}
    (end,) = [line for line in job if "6 images, 5 failed" in line["message"]]
    assert (end["chunk_id"], end["worker"]) == (chunk_id, images[0]["worker"])
    (trained,) = [line for line in lines if line["message"].endswith(" was accepted: the training of night")]
    assert any(line["role"] == "worker" and line.get("run_id") == trained["run_id"] for line in lines)


def test_a_trace_leads_from_the_request_to_the_storage(lines: list[dict[str, Any]], collector: Collector) -> None:
    (accepted,) = [line for line in lines if line["message"].endswith(" was accepted: feedforward")]

    def ended() -> bool:
        return any(span.name == "finalize" and span.trace == accepted["trace_id"] for span in collector.spans)

    wait_until(ended, seconds=30)
    (request,) = [span for span in collector.spans if span.name == "POST /v1/jobs"]
    assert (request.trace, request.parent, request.kind) == (accepted["trace_id"], "", "server")
    assert request.attributes["nst.request_id"] == accepted["request_id"]
    assert request.attributes["http.response.status_code"] == 202
    plan, dispatch, finalize = collector.children(request)
    assert [plan.name, dispatch.name, finalize.name] == ["plan", "dispatch", "finalize"]
    (chunk,) = collector.children(dispatch)
    assert (chunk.name, chunk.kind, dispatch.kind) == ("chunk", "consumer", "producer")
    assert (request.resource["service.name"], chunk.resource["service.name"]) == ("nst-scheduler", "nst-worker")
    items = {span.attributes["nst.item"]: span for span in collector.children(chunk)}
    assert {span.name for span in items.values()} == {"item"}
    assert items.keys() == set(range(6))
    (good,) = [span for span in items.values() if not span.failed]
    assert [span.name for span in collector.children(good)] == ["fetch", "decode", "stylize", "encode", "put"]
    assert good.attributes["nst.job_id"] == accepted["job_id"]
    assert all(span.attributes["error.type"] for span in items.values() if span.failed)
    # And trainings, by the same way.
    (training,) = [span for span in collector.spans if span.name == "POST /v1/styles"]
    assert {child.name for sent in collector.children(training) for child in collector.children(sent)} == {"training"}


def test_no_line_and_no_span_has_a_secret(lines: list[dict[str, Any]], stack: Stack, collector: Collector) -> None:
    where, home = stack.addresses, stack.home
    password = urlsplit(where.broker.redis_url.get_secret_value()).password
    text = json.dumps(lines) + "".join(body.decode(errors="replace") for body in collector.bodies)
    for secret in (password, where.api.api_key, home.message_secret(), home.s3_secret(), home.webhook_key()):
        assert secret
        assert secret not in text
