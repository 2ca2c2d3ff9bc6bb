"""A small hostile run, and tests of the parts of the long one, `python -m tests.hostile`."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nst_core.errors import WeightsError
from nst_core.images import decode
from nst_core.nets.weights_header import read_config
from tests.hostile import __main__ as hostile
from tests.hostile.api_requests import hostile_requests
from tests.hostile.decoding import Verdict, try_files
from tests.hostile.files import HostileFile, hostile_files
from tests.hostile.phases import Result
from tests.hostile.report import Limits, Measured, promises
from tests.hostile.seeds import seeds, split_boxes, split_jpeg, split_png, split_riff
from tests.hostile.sending import Answers
from tests.hostile.weights import hostile_weights, sound_weights

_SEEN: Mapping[str, Any] = {
    "livez_gap_s": 0.1,
    "worker_gap_s": 0.2,
    "heartbeat_gap_s": {},
    "own_gap_s": 0.0,
    "livez_answers": 9,
    "events": 9,
    "memory_mb": {"worker": 500.0, "scheduler": 100.0},
}


def test_seed_files_are_valid_and_cover_all_formats() -> None:
    formats = {seed.suffix for seed in seeds()}
    assert {"jpg", "png", "webp", "tif", "bmp", "gif", "avif", "svg", "heic", "pdf"} <= formats
    plain = [seed for seed in seeds() if seed.kind.endswith(("-RGB", "-lossy", "-raw", "-still"))]
    assert len(plain) == 6
    for seed in plain:
        # The EXIF data of one of them rotates it.
        assert sorted(decode(seed.data).rgb.shape) == [3, 37, 51], seed.kind


def test_files_can_be_split_and_joined_again() -> None:
    by_kind = {seed.kind: seed.data for seed in seeds()}
    for kind, split in {"jpeg-RGB": split_jpeg, "png-RGB": split_png, "avif": split_boxes}.items():
        parts = split(by_kind[kind])
        assert b"".join(parts) == by_kind[kind]
        assert len(parts) >= 3
    assert b"".join(split_riff(by_kind["webp-lossy"])) == by_kind["webp-lossy"][12:]


def test_a_seed_always_gives_the_same_files_and_another_seed_others() -> None:
    first, again, other = (list(hostile_files(150, seed=seed, largest=100)) for seed in (5, 5, 6))
    assert first == again
    assert len({file.name for file in first}) == len({file.data for file in first} | {b""}) - 1 == 150
    # A quarter of the files is inflated, and those do not depend much on the seed.
    assert sum(a.data == b.data for a, b in zip(first, other, strict=True)) < 50
    assert sum("jpeg" in file.name for file in first) > 10


def raise_for(data: bytes) -> None:
    """Stands for decoders with bugs."""
    if data == b"escape":
        raise KeyError("x")
    if data == b"crash":
        os._exit(3)


def test_a_decoder_that_raises_or_dies_is_detected_and_the_next_file_is_tried() -> None:
    files = [HostileFile(name, name.encode()) for name in ("good", "escape", "crash", "good")]
    verdicts = list(try_files(files, take=raise_for))
    assert [verdict.code.partition(":")[0] for verdict in verdicts] == ["ok", "escaped", "crashed", "ok"]
    assert [verdict.is_good for verdict in verdicts] == [True, False, False, True]


def test_no_file_makes_the_decoder_raise_an_undocumented_error() -> None:
    verdicts = list(try_files(hostile_files(400, seed=11, largest=1000)))
    assert [verdict for verdict in verdicts if not verdict.is_good] == []
    # This guards only against exponential time: all files together take seconds.
    assert [verdict for verdict in verdicts if verdict.silent_s > 20 or verdict.cpu_s > 60] == []
    assert Counter(verdict.code for verdict in verdicts)["ok"] > 20


def test_headers_of_hostile_weights_are_refused_or_valid(tmp_path: Path) -> None:
    codes = Counter[str]()
    for file in hostile_weights(200, seed=3):
        (tmp_path / "w").write_bytes(file.data)
        with open(tmp_path / "w", "rb") as opened:
            try:
                read_config(opened)
                codes["right"] += 1
            except WeightsError:
                codes["refused"] += 1
    assert codes["right"] > 0
    assert codes["refused"] > 100


def test_weights_are_valid_before_they_are_changed(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(sound_weights())
    with open(tmp_path / "w", "rb") as file:
        assert read_config(file).width == 2


def test_requests_cover_every_route_and_most_bodies_are_json() -> None:
    document = {
        "paths": {
            "/v1/jobs": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}
                }
            },
            "/v1/jobs/{job_id}": {"get": {}, "delete": {}},
        },
        "components": {"schemas": {"Body": {"examples": [{"input": {"uris": ["s3://a/b"]}, "styles": ["x"]}]}}},
    }
    made = list(hostile_requests(document, count=300, seed=1, key="k", known={"job_id": "job_1"}))
    assert Counter(request.method for request in made) == {"POST": 100, "GET": 100, "DELETE": 100}
    assert sum(request.target.startswith("/v1/jobs/job_1") for request in made) > 50
    bodies = [request.body for request in made if request.method == "POST"]
    assert max(len(body) for body in bodies) > 3 * 2**20
    sound = 0
    for body in bodies:
        try:
            json.loads(body)
            sound += 1
        except (ValueError, RecursionError):
            continue
    assert sound > 50


def measured(**changes: Any) -> Measured:
    """Return a run in which every guarantee was kept, with changes."""
    values: dict[str, Any] = {
        "alone_s": 2.0,
        "plain_s": 4.0,
        "beside": {"photos": [5.0, 5.5]},
        "seen": dict(_SEEN),
    } | changes
    return Measured(**values)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, None),
        ({"seen": {**_SEEN, "livez_gap_s": 2.1}}, "silent"),
        ({"seen": {**_SEEN, "worker_gap_s": 2.1}}, "silent"),
        ({"seen": {**_SEEN, "events": 0}}, "silent"),
        ({"seen": {**_SEEN, "heartbeat_gap_s": {"worker-1": 2.1}}}, "silent"),
        ({"seen": {**_SEEN, "memory_mb": {"worker": 3000.0, "worker children": 1200.0}}}, "worker with its children"),
        ({"seen": {**_SEEN, "memory_mb": {"scheduler": 900.0}}}, "the scheduler has"),
        ({"beside": {"photos": [5.0], "requests": [6.5, 6.6]}}, "good jobs"),
        ({"results": [Result("photos", problems=["job_1 is running"])]}, "stable code"),
        ({"results": [Result("requests", answers=Answers(broken=["500 GET /"]))]}, "500"),
        ({"results": [Result("requests", answers=Answers(silent=["GET /"]))]}, "answered"),
        ({"deaths": ["worker-1 died: exit code 1"]}, "died"),
    ],
)
def test_each_guarantee_can_be_broken(changes: dict[str, Any], broken: str | None) -> None:
    limits = Limits(gap_s=2.0, worker_mb=4000, scheduler_mb=800, ratio=1.5)
    failed = [promise.text for promise in promises(measured(**changes), limits) if not promise.kept]
    assert len(failed) == (broken is not None)
    assert broken is None or broken in failed[0]


def test_a_verdict_rejects_a_hung_decoder() -> None:
    assert Verdict(name="a", code="image_undecodable").is_good
    assert not Verdict(name="a", code="hung").is_good


def test_a_small_run_on_a_real_stack_keeps_its_guarantees(capsys: pytest.CaptureFixture[str]) -> None:
    # The limit for silence is generous, because the machine may be busy with other tests.
    bounded = ["--seconds", "200", "--gap-s", "30", "--times", "0", "--largest", "100"]
    code = hostile.main(["--files", "30", "--requests", "60", "--ways", "photos,styles,requests", *bounded])
    table = capsys.readouterr().out
    assert "FAIL" not in table, table
    assert table.count("PASS") == 8, table
    assert code == 0
