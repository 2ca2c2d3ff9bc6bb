"""The files in deploy/monitoring, as tests read them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "deploy" / "monitoring"
_METRIC = re.compile(r"\b(?:nst|process)_[a-z_]+\b")
_ROW = re.compile(r"\| `(\w+)` \| (\w+) \| ?(.*?) ?\| (.+) \|")


@dataclass(frozen=True, kw_only=True)
class Documented:
    """A metric, as the table describes it."""

    name: str
    type: str
    labels: frozenset[str]


def documented(process: str) -> list[Documented]:
    """Return the rows of the table of a process, Scheduler or Worker."""
    text = (FOLDER / "README.md").read_text()
    section = text.partition(f"\n### {process}\n")[2].partition("\n### ")[0]
    rows = [_ROW.fullmatch(line) for line in section.splitlines() if line.startswith("| `")]
    return [
        Documented(name=row[1], type=row[2], labels=frozenset(re.findall(r"`(\w+)`", row[3]))) for row in rows if row
    ]


def documented_fields() -> dict[str, type]:
    """Return the fields of log lines and their types, as the table has them."""
    section = (FOLDER / "README.md").read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (string|integer) \|", section, re.MULTILINE)
    return {name: {"string": str, "integer": int}[kind] for name, kind in rows}


def names_in(text: str) -> set[str]:
    """Return the metrics that a query names, without the suffixes of histograms and summaries."""
    parts = {
        f"{metric.name}_{suffix}": metric.name
        for process in ("Scheduler", "Worker")
        for metric in documented(process)
        if metric.type in ("histogram", "summary")
        for suffix in ("bucket", "sum", "count")
    }
    return {parts.get(name, name) for name in _METRIC.findall(text)}


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of a panel and a query for each query of the dashboard."""
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alert_queries() -> dict[str, str]:
    """Return the queries of the alerts by name."""
    text = (FOLDER / "alerts.yaml").read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: (\|\n(?: {10}.*\n)+|.*\n)", text)
    return {name: query.removeprefix("|").strip() for name, query in found}
