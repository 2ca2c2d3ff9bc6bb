"""The table of metrics, the alerts and the dashboard fit each other; promtool tests the alerts."""

import json
import shutil
import subprocess

import pytest

from tests.monitoring import FOLDER, alert_queries, dashboard_queries, documented, names_in

DOCUMENTED = {metric.name for process in ("Scheduler", "Worker") for metric in documented(process)}


def test_every_row_of_the_table_is_read_and_no_metric_is_there_twice() -> None:
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith(("| `nst_", "| `proc"))]
    names = [metric.name for process in ("Scheduler", "Worker") for metric in documented(process)]
    assert len(names) == len(rows) > 30
    for process in ("Scheduler", "Worker"):
        own = [metric.name for metric in documented(process)]
        assert len(own) == len(set(own))


def test_names_follow_the_conventions() -> None:
    for process in ("Scheduler", "Worker"):
        for metric in documented(process):
            assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
            if metric.type in ("histogram", "summary"):
                assert metric.name.endswith("_seconds"), metric.name
            assert not metric.labels & {"tenant", "job", "job_id", "run_id", "style", "path", "instance"}, metric.name


def test_the_dashboard_asks_for_documented_metrics_alone() -> None:
    queries = list(dashboard_queries())
    assert len(queries) > 20
    for title, query in queries:
        assert names_in(query), title
        assert names_in(query) <= DOCUMENTED, title


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_alerts_watch_documented_metrics_alone_and_each_has_a_test() -> None:
    queries = alert_queries()
    text = (FOLDER / "alerts.yaml").read_text()
    assert len(queries) == text.count("- alert:") > 7
    tests = (FOLDER / "alerts_test.yaml").read_text()
    for name, query in queries.items():
        assert names_in(query), name
        assert names_in(query) <= DOCUMENTED, name
        assert f"alertname: {name}\n        eval_time" in tests, f"{name} is never tested to fire"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
@pytest.mark.parametrize(
    "command",
    [("check", "config", "prometheus.yaml"), ("test", "rules", "alerts_test.yaml")],
    ids=lambda command: command[0],
)
def test_promtool_accepts_the_files_and_the_alerts_fire_as_they_should(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
