"""Tests of nst_core.protocol.chunks."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_core.client.resources.items import ItemStatus
from nst_core.errors import ProtocolError
from nst_core.protocol.chunks import (
    BlendPart,
    ChunkItem,
    ChunkMessage,
    OptimizeChunk,
    Region,
    StyleRef,
    StylizeChunk,
    StylizeOptions,
    dump_chunk,
    load_chunk,
)

CHUNK = StylizeChunk(
    job_id="j1",
    chunk_id=7,
    attempt=2,
    style=StyleRef(name="great-wave", version="ab" * 32, weights="s3://nst/styles/ab.safetensors", index=3),
    options=StylizeOptions(
        strength=0.5,
        preserve_color=True,
        mask="s3://in/mask.png",
        regions=(Region(style=StyleRef(name="udnie", version="cd" * 32), mask="s3://in/sky.png"),),
        faces="protect",
        precision="exact",
        max_px=800,
        stroke=2.0,
        forms="planes",
        upscale=4,
        quality=80,
    ),
    items=(
        ChunkItem(
            index=0,
            input="s3://in/é a.jpg",
            output="s3://out/0.png",
            mask="s3://in/own.png",
            regions=(None, "s3://in/s.png"),
        ),
    ),
)
OPTIMIZE = OptimizeChunk(
    job_id="j2",
    chunk_id=8,
    attempt=1,
    painting="s3://in/painting.png",
    config={"iterations": 3, "style_layers": ["relu1_1"], "weights": {"a": 0.5}},
    scratch="s3://nst/tenants/t/scratch/j2/",
    preview_every=5,
    quality=80,
    items=(ChunkItem(index=4, input="s3://in/a.jpg", output="s3://out/4.png"),),
)
PARTS = tuple(
    BlendPart(name=name, version=digits * 32, weights=f"s3://nst/styles/{digits}.safetensors", index=index, share=share)
    for name, digits, index, share in (("wave", "ab", 0, 0.6), ("udnie", "cd", 2, 0.4))
)
BLEND = replace(CHUNK, style=StyleRef(name="wave:0.6,udnie:0.4", version="ef" * 32, parts=PARTS))
texts = st.text(max_size=20)
counts = st.integers(0, 2**40)


@pytest.mark.parametrize("chunk", [CHUNK, OPTIMIZE, BLEND])
def test_a_chunk_survives_json(chunk: ChunkMessage) -> None:
    assert load_chunk(type(chunk), json.loads(json.dumps(dump_chunk(chunk)))) == chunk


@settings(deadline=None)
@given(
    st.builds(
        StylizeChunk,
        job_id=texts,
        chunk_id=counts,
        attempt=counts,
        style=st.builds(StyleRef, name=texts, version=texts, weights=texts, index=counts),
        options=st.builds(
            StylizeOptions,
            strength=st.floats(0, 1),
            preserve_color=st.booleans(),
            mask=st.none() | texts,
            regions=st.lists(
                st.builds(
                    Region, style=st.builds(StyleRef, name=texts, version=texts, weights=texts), mask=st.none() | texts
                ),
                max_size=2,
            ).map(tuple),
            faces=st.sampled_from(["paint", "protect"]),
            precision=st.sampled_from(["auto", "exact"]),
            max_px=st.none() | counts,
            stroke=st.none() | st.sampled_from(["auto", "fine", "varied"]) | st.floats(0.5, 4),
            forms=st.sampled_from([None, "none", "planes"]),
            upscale=st.sampled_from([1, 2, 4]),
            quality=st.integers(1, 100),
        ),
        items=st.lists(
            st.builds(
                ChunkItem,
                index=counts,
                input=texts,
                output=texts,
                mask=st.none() | texts,
                regions=st.lists(st.none() | texts, max_size=2).map(tuple),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_any_chunk_survives_json(chunk: StylizeChunk) -> None:
    assert load_chunk(StylizeChunk, json.loads(json.dumps(dump_chunk(chunk)))) == chunk


def test_fields_of_a_newer_version_are_ignored() -> None:
    chunk = dump_chunk(CHUNK) | {"priority": 3}
    chunk["options"]["dither"] = True
    assert load_chunk(StylizeChunk, chunk) == CHUNK


def test_options_that_an_older_version_does_not_send_have_their_defaults() -> None:
    assert load_chunk(StylizeChunk, dump_chunk(CHUNK) | {"options": {}}).options == StylizeOptions()


#: Fields that an older version does not send.
OPTIONAL = {"alone", "preview_every", "quality", "traceparent"}


@pytest.mark.parametrize(
    ("chunk", "field"),
    [(chunk, field) for chunk in (CHUNK, OPTIMIZE) for field in sorted(asdict(chunk).keys() - OPTIONAL)],
)
def test_a_chunk_without_a_field_is_refused_by_name(chunk: ChunkMessage, field: str) -> None:
    values = dump_chunk(chunk)
    del values[field]
    with pytest.raises(ProtocolError, match=f"wrong at {field}"):
        load_chunk(type(chunk), values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chunk_id", "x"),
        ("attempt", None),
        ("items", 3),
        ("items", [{"index": 0}]),
        ("style", "wave"),
        ("options", 1),
        ("options", {"precision": "fp64"}),
        ("options", {"stroke": "broad"}),
        ("options", {"stroke": 0.4}),
        ("options", {"stroke": 4.5}),
        ("options", {"forms": "cubes"}),
        ("options", {"stroke": True}),
        ("options", {"upscale": 3}),
    ],
)
def test_a_chunk_with_a_wrong_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ProtocolError, match=f"StylizeChunk message is wrong at {field}"):
        load_chunk(StylizeChunk, dump_chunk(CHUNK) | {field: value})


@pytest.mark.parametrize("values", [None, 1, "x", [], b"", b"{"])
def test_a_value_that_is_not_a_chunk_is_refused(values: Any) -> None:
    with pytest.raises(ProtocolError):
        load_chunk(StylizeChunk, values)


def test_only_ends_are_terminal() -> None:
    assert {status.value for status in ItemStatus if status.is_terminal} == {"succeeded", "failed", "cancelled"}
