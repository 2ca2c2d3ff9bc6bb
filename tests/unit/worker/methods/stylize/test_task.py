"""Tests of worker.methods.stylize.task."""

from dataclasses import replace
from pathlib import Path

import boto3
from botocore.config import Config

from nst_core.inference.stylizer import EXACT, EngineChoice
from nst_core.nets import families
from nst_core.protocol.chunks import Region, StylizeOptions, dump_chunk
from nst_core.protocol.events import ChunkFinished
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.local.servers import HOST, free_port
from tests.unit.worker.conftest import Worker
from tests.unit.worker.kit import (
    Invert,
    Style,
    events,
    make_chunk,
    photo,
    store_style,
)


def finished(worker: Worker) -> ChunkFinished:
    """Return the last event, which must be the end of a chunk."""
    event = events(worker.broker)[-1]
    assert isinstance(event, ChunkFinished)
    return event


def test_damaged_weights_fail_every_item(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo(), photo()], style=style)
    wrong = replace(chunk, style=replace(chunk.style, version="0" * 64))
    worker.task()(dump_chunk(wrong))
    outcomes = finished(worker).outcomes
    assert [(outcome.index, outcome.error_code, outcome.retryable) for outcome in outcomes] == [
        (0, "weights_invalid", False),
        (1, "weights_invalid", False),
    ]


def test_weights_that_are_unavailable_fail_every_item_for_a_retry(worker: Worker, style: Style) -> None:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{HOST}:{free_port()}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    away = BlobStore(StorageSettings(), client=client)
    worker.task(blobs=away)(dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
    (outcome,) = finished(worker).outcomes
    assert (outcome.error_code, outcome.retryable) == ("blob_unavailable", True)


def test_a_network_too_large_for_the_memory_fails_every_item(worker: Worker, style: Style) -> None:
    def build(data: bytes, painted: families.Style, choice: EngineChoice) -> Invert:
        raise RuntimeError("CUDA out of memory")

    worker.task(build)(dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
    assert finished(worker).outcomes[0].error_code == "engine_failed"


def test_an_exact_job_gets_the_reference_and_every_other_job_the_engine_of_the_worker(
    worker: Worker, style: Style
) -> None:
    fast = EngineChoice(engine="fast", precision="bf16")

    def build(data: bytes, painted: families.Style, choice: EngineChoice) -> Invert:
        stylizer = Invert()
        stylizer.choice = choice
        return stylizer

    task = worker.task(build, choice=fast)
    for chunk_id, options, expected in ((1, StylizeOptions(), fast), (2, StylizeOptions(precision="exact"), EXACT)):
        task(dump_chunk(make_chunk(worker.blobs, [photo()], style=style, chunk_id=chunk_id, options=options)))
        (outcome,) = finished(worker).outcomes
        assert (outcome.engine, outcome.precision) == (expected.engine, expected.precision)


def test_a_job_with_less_strength_gets_a_blend_with_the_identity(worker: Worker, tmp_path: Path) -> None:
    asked = []

    def build(data: bytes, painted: families.Style, choice: EngineChoice) -> Invert:
        asked.append(painted)
        return Invert()

    faded = store_style(worker.blobs, tmp_path, styles=2, identity=True)
    chunk = make_chunk(worker.blobs, [photo()], style=faded, options=StylizeOptions(strength=0.25))
    task = worker.task(build)
    task(dump_chunk(chunk))  # its scheduler knows of no identity
    task(dump_chunk(replace(chunk, chunk_id=2, style=replace(chunk.style, fades=True))))
    assert asked == [0, {0: 0.25, 1: 0.75}]
    assert finished(worker).outcomes[0].error_code is None


def test_the_styles_of_regions_are_loaded_with_the_version_and_the_engine_of_the_job(
    worker: Worker, style: Style, tmp_path: Path
) -> None:
    asked = []

    def build(data: bytes, painted: families.Style, choice: EngineChoice) -> Invert:
        asked.append((painted, choice))
        return Invert()

    chunk = make_chunk(worker.blobs, [photo()], style=style)
    faded = replace(store_style(worker.blobs, tmp_path, seed=2, styles=2, identity=True).ref, fades=True)
    options = StylizeOptions(strength=0.25, precision="exact", regions=(Region(style=faded),) * 2)
    task = worker.task(build)
    task(dump_chunk(replace(chunk, options=options)))
    assert finished(worker).outcomes[0].error_code is None
    assert asked == [(0, EXACT), ({0: 0.25, 1: 0.75}, EXACT)]
    wrong = replace(options, regions=(Region(style=replace(faded, version="0" * 64)),))
    task(dump_chunk(replace(chunk, chunk_id=2, options=wrong)))
    assert finished(worker).outcomes[0].error_code == "weights_invalid"


def test_a_photo_that_fails_has_no_engine(worker: Worker, style: Style) -> None:
    worker.task()(dump_chunk(make_chunk(worker.blobs, [b"no photo"], style=style)))
    (outcome,) = finished(worker).outcomes
    assert (outcome.error_code, outcome.engine, outcome.precision) == ("image_undecodable", None, None)
