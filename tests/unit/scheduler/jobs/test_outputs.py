"""Tests of scheduler.jobs.outputs."""

from collections.abc import Collection, Iterator, Sequence

import pytest

from nst_core.client.resources.jobs import JobInput
from nst_core.protocol.chunks import StylizeOptions
from scheduler.domain.jobs import JobOutput, JobSpec
from scheduler.jobs.inputs import InputEntry
from scheduler.jobs.outputs import refuse_inputs, refuse_photos, refuse_taken
from scheduler.store.items import NewItem
from tests.playing_s3 import PlayingServer, playing
from tests.unit.scheduler.kit import STYLE

PLACE = "s3://nst/in/"


@pytest.fixture(scope="module")
def server() -> Iterator[PlayingServer]:
    with playing() as server:
        server.put(*(f"in/{number:05d}.jpg" for number in range(5000)))
        yield server


def spec_of(source: JobInput, *, name: str = "{stem}.{ext}", mask: str | None = None) -> JobSpec:
    return JobSpec(
        input=source,
        output=JobOutput(prefix=PLACE, name=name),
        styles=(STYLE,),
        options=StylizeOptions(mask=mask),
        max_attempts=3,
    )


def planned(*outputs: str, photo: str = PLACE + "photo.bmp") -> list[NewItem]:
    return [
        NewItem(index=place, input=photo, custom_id=None, mask=None, style="wave", version="a" * 64, output=output)
        for place, output in enumerate(outputs)
    ]


def refused(items: Iterator[NewItem]) -> list[str]:
    return [item.output.removeprefix(PLACE) for item in items if item.error is not None]


def in_storage(
    server: PlayingServer, spec: JobSpec, items: Sequence[NewItem], results: Collection[str] = ()
) -> list[str]:
    return refused(refuse_photos(spec, items, blobs=server.store(), results=lambda uris: {*uris}.intersection(results)))


def test_an_output_is_no_photo_no_mask_and_no_mask_of_a_region() -> None:
    names = ("a.jpg", "own.png", "sky.png", "job.png", "free.png")
    entry = InputEntry(uri=PLACE + "a.jpg", mask=PLACE + "own.png", regions=(None, PLACE + "sky.png"))
    spec = spec_of(JobInput(manifest="s3://nst/m.jsonl"), mask=PLACE + "job.png")
    assert refused(refuse_inputs(spec, [entry], planned(*(PLACE + name for name in names)))) == [*names[:-1]]


def test_photos_in_storage_are_found_with_few_requests(server: PlayingServer) -> None:
    outputs = [f"{PLACE}{number:05d}{end}" for number in (0, 7, 800, 4999) for end in (".jpg", "_.jpg")]
    outputs += [PLACE + "zz.jpg"]
    before = server.count("GET")
    found = in_storage(server, spec_of(JobInput(prefix=PLACE)), planned(*outputs))
    assert found == ["00000.jpg", "00007.jpg", "00800.jpg", "04999.jpg"]
    assert server.count("GET") - before <= 4


def test_a_key_far_behind_its_own_beginning_is_found(server: PlayingServer) -> None:
    server.put(*(f"in/8{number:04d}" for number in range(3000)), "in/8x")
    assert in_storage(server, spec_of(JobInput(prefix=PLACE)), planned(PLACE + "8x")) == ["8x"]


def test_known_results_may_be_replaced(server: PlayingServer) -> None:
    outputs = [PLACE + "00001.jpg", PLACE + "00002.jpg"]
    assert in_storage(server, spec_of(JobInput(prefix=PLACE)), planned(*outputs), outputs[:1]) == ["00002.jpg"]


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(JobInput(prefix="s3://nst/in/a/")),
        spec_of(JobInput(prefix="s3://nst/")),
        spec_of(JobInput(prefix="s3://other/in/")),
        spec_of(JobInput(uris=(PLACE + "photo.bmp",))),
        spec_of(JobInput(manifest="s3://nst/m.jsonl"), name="{stem}__{style}.{ext}"),
    ],
)
def test_no_request_is_made_where_no_photo_can_be_at_the_output(server: PlayingServer, spec: JobSpec) -> None:
    before = server.count("GET")
    assert in_storage(server, spec, planned(PLACE + "00001.jpg")) == []
    assert server.count("GET") == before


def test_photos_of_a_manifest_elsewhere_do_not_count(server: PlayingServer) -> None:
    spec = spec_of(JobInput(manifest="s3://nst/m.jsonl"))
    assert in_storage(server, spec, planned(PLACE + "00001.jpg", photo="s3://nst/other/1.bmp")) == []
    assert in_storage(server, spec, planned(PLACE + "00001.jpg")) == ["00001.jpg"]


def test_an_output_is_taken_once() -> None:
    items = planned(PLACE + "a.jpg", PLACE + "b.jpg", PLACE + "a.jpg", PLACE + "c.jpg")
    assert [item.index for item in refuse_taken(items, {PLACE + "c.jpg"}) if item.error is not None] == [2, 3]
