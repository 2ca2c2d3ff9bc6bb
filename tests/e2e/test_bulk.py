"""The main job on a whole stack: every photo with every style, only bad files fail, and the bytes are reproducible."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest, Output, Region
from nst_core.images import Picture, decode, encode
from nst_core.inference.engines import load_stylizer
from nst_core.inference.luminance import grey_levels
from nst_core.inference.selection import choose
from nst_core.nets.families import blended
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import version_of, version_of_blend
from nst_core.system.files import usable_cache_folder
from nst_core.upscaling.upscaler import load_upscaler
from scheduler.local.embedded import Stack
from tests.faults.harness import check_complete, finish, images, submit, upload
from tests.photos import BAD_CODES, bad_files, pictures, small_photos
from tests.shipped import shipped_style

STYLES = ("great_wave", "udnie")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("home"), workers=1, env={"NST_CHUNK_SIZE": "4"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


def test_every_photo_gets_every_style_at_its_own_size_with_reproducible_bytes(stack: Stack, client: Client) -> None:
    photos = small_photos(7)
    uris = upload(client, photos)
    first, second = (finish(stack, client, submit(client, uris, STYLES)) for _ in range(2))
    assert first.job.status == second.job.status == "succeeded"
    for outcome in (first, second):
        check_complete(outcome)
        assert len(outcome.results) == len(photos) * len(STYLES)
    assert images(first) == images(second)
    assert len(set(images(first).values())) == len(photos) * len(STYLES), "no two pictures are the same"
    store = BlobStore(stack.addresses.storage)
    for item in first.items:
        source = Image.open(io.BytesIO(photos[Path(item.input).name]))
        result = Image.open(io.BytesIO(store.get(BlobUri.parse(str(item.output)))))
        assert (result.size, result.format) == (source.size, source.format)
        assert (item.width, item.height) == source.size


def test_only_the_bad_files_fail_each_with_its_code_and_a_message(stack: Stack, client: Client) -> None:
    uris = upload(client, small_photos(4) | bad_files())
    missing = uris[-1].rpartition("/")[0] + "/missing.jpg"
    outcome = finish(stack, client, submit(client, [*uris, missing], ["great_wave"]))
    assert outcome.job.status == "partially_succeeded"
    check_complete(outcome)
    failed = {Path(item.input).name: item.error for item in outcome.items if item.error is not None}
    assert {name: error.code for name, error in failed.items()} == BAD_CODES
    assert all(len(error.message) > 15 and error.message.endswith(".") for error in failed.values())


def test_options_change_the_pictures(stack: Stack, client: Client) -> None:
    uris = upload(client, small_photos(1, side_px=120))
    plain, reduced = (
        finish(stack, client, submit(client, uris, ["udnie"], format="webp", **options))
        for options in ({}, {"max_px": 64})
    )
    assert max(plain.items[0].width or 0, plain.items[0].height or 0) == 120
    assert max(reduced.items[0].width or 0, reduced.items[0].height or 0) == 64
    assert [str(item.output).rpartition(".")[2] for item in plain.items] == ["webp"]


def test_an_exact_job_has_the_bytes_of_the_reference_and_others_say_the_engine_of_the_worker(
    stack: Stack, client: Client
) -> None:
    photos = small_photos(3)
    places = JobInput(uris=tuple(upload(client, photos)))
    weights = shipped_style("udnie").weights()
    reference = load_stylizer(weights)
    # The worker keeps what it has measured: on a busy machine another measurement may have another result.
    usual = choose(torch.device("cpu"), folder=usable_cache_folder(stack.home.cache))
    for precision, choice in (("exact", reference.choice), ("auto", usual)):
        request = JobRequest(input=places, styles=("udnie",), precision=precision, output=Output(format="png"))
        outcome = finish(stack, client, client.submit(request))
        assert (outcome.job.status, outcome.job.precision) == ("succeeded", precision)
        made = (choice.engine, choice.precision)
        assert {(item.engine, item.precision) for item in outcome.items} == {made}
        assert {(line["engine"], line["precision"]) for line in outcome.results} == {made}
        if precision == "exact":
            for item in outcome.items:
                photo = decode(photos[Path(item.input).name])
                picture = Picture(rgb=reference(photo.rgb[np.newaxis])[0], alpha=photo.alpha)
                assert item.sha256 == hashlib.sha256(encode(picture, ".png", quality=92)).hexdigest()


def test_strokes_of_other_sizes_and_forms_change_a_picture(stack: Stack, client: Client) -> None:
    [(name, photo)] = small_photos(1, side_px=160).items()
    places = JobInput(uris=tuple(upload(client, {name: photo})))
    store, pictures = BlobStore(stack.addresses.storage), []
    for stroke, forms in ((None, None), ("auto", None), ("varied", None), (None, "planes")):
        request = JobRequest(
            input=places, styles=("great_wave",), stroke=stroke, forms=forms, output=Output(format="png")
        )
        outcome = finish(stack, client, client.submit(request))
        assert (outcome.job.status, outcome.job.stroke, outcome.job.forms) == ("succeeded", stroke, forms)
        pictures.append(decode(store.get(BlobUri.parse(str(outcome.items[0].output)))).rgb.astype(float))
    plain, *others = pictures
    for other in others:
        assert plain.shape == other.shape == decode(photo).rgb.shape
        assert np.abs(plain - other).mean() > 2


def test_the_look_of_the_gallery_is_that_of_the_options_in_the_cards(stack: Stack, client: Client) -> None:
    places = JobInput(uris=tuple(upload(client, small_photos(1, side_px=160))))
    asked: dict[str, dict[str, Any]] = {name: shipped_style(name).card["look"] for name in ("starry_night", "udnie")}
    request = JobRequest(input=places, styles=tuple(asked), look="gallery", output=Output(format="png"))
    made = {item.style: item.sha256 for item in finish(stack, client, client.submit(request)).items}
    for style, options in asked.items():
        request = JobRequest(input=places, styles=(style,), output=Output(format="png"), **options)
        [item] = finish(stack, client, client.submit(request)).items
        assert item.sha256 == made[style]


def test_results_are_enlarged(stack: Stack, client: Client) -> None:
    photos = small_photos(2, side_px=120)
    uris = tuple(upload(client, photos))
    store = BlobStore(stack.addresses.storage)
    made: dict[int, list[Picture]] = {}
    for factor in (1, 2, 4):
        request = JobRequest(
            input=JobInput(uris=uris), styles=("great_wave",), upscale=factor, output=Output(format="png")
        )
        outcome = finish(stack, client, client.submit(request))
        check_complete(outcome)
        assert (outcome.job.status, outcome.job.upscale) == ("succeeded", factor)
        made[factor] = [decode(store.get(BlobUri.parse(str(item.output)))) for item in outcome.items]
        assert [(item.width, item.height) for item in outcome.items] == [each.rgb.shape[1::-1] for each in made[factor]]
    for plain, twice, four in zip(*(made[factor] for factor in (1, 2, 4)), strict=True):
        # With another number of threads, products may be summed in another order.
        np.testing.assert_allclose(twice.rgb.astype(int), load_upscaler(2)(plain.rgb), atol=1)
        np.testing.assert_allclose(four.rgb.astype(int), load_upscaler(4)(plain.rgb), atol=1)


def test_a_blend_is_painted_by_the_mean_of_its_networks(stack: Stack, client: Client) -> None:
    photos = small_photos(2)
    places = JobInput(uris=tuple(upload(client, photos)))
    request = JobRequest(
        input=places, styles=("udnie:2,great_wave:3", "udnie"), precision="exact", output=Output(format="png")
    )
    outcome = finish(stack, client, client.submit(request))
    check_complete(outcome)
    assert [style.name for style in outcome.job.styles] == ["great_wave:0.6,udnie:0.4", "udnie"]
    data = [shipped_style(name).weights() for name in ("great_wave", "udnie")]
    version = version_of_blend([(version_of(data[0]), 0.6), (version_of(data[1]), 0.4)])
    net = blended([load_transformer_bytes(each) for each in data], [0.6, 0.4])
    reference = load_stylizer(dump_transformer(net, dtype=torch.float32))
    painted = [item for item in outcome.items if item.style == "great_wave:0.6,udnie:0.4"]
    assert len(painted) == len(photos)
    for item in painted:
        name = Path(item.input).name
        photo = decode(photos[name])
        picture = Picture(rgb=reference(photo.rgb[np.newaxis])[0], alpha=photo.alpha)
        assert item.sha256 == hashlib.sha256(encode(picture, ".png", quality=92)).hexdigest()
        assert str(item.output).endswith(f"/{Path(name).stem}__great_wave-60+udnie-40.png")
    lines = [line for line in outcome.results if line["style"] == "great_wave:0.6,udnie:0.4"]
    assert [line["style_version"] for line in lines] == [version] * len(photos)


def test_a_mask_says_where_photos_are_painted(stack: Stack, client: Client) -> None:
    [(name, photo)] = small_photos(1, side_px=160).items()
    original = decode(photo).rgb
    height, width = original.shape[:2]
    white_left = np.zeros((height, width, 3), np.uint8)
    white_left[:, : width // 2] = 255
    places = upload(client, {name: photo, "mask.png": encode(Picture(rgb=white_left), "png")})
    mask = next(place for place in places if place.endswith("/mask.png"))
    inputs = JobInput(uris=tuple(place for place in places if place != mask))
    store, pictures = BlobStore(stack.addresses.storage), []
    for chosen in (None, mask, mask):
        request = JobRequest(input=inputs, styles=("great_wave",), mask=chosen, output=Output(format="png"))
        outcome = finish(stack, client, client.submit(request))
        assert (outcome.job.status, outcome.job.mask) == ("succeeded", chosen)
        pictures.append(decode(store.get(BlobUri.parse(str(outcome.items[0].output)))).rgb)
    painted, masked, again = pictures
    np.testing.assert_array_equal(masked[:, : width // 2], painted[:, : width // 2])
    np.testing.assert_array_equal(masked[:, width // 2 :], original[:, width // 2 :])
    np.testing.assert_array_equal(again, masked)


def test_regions_are_painted_in_styles_of_their_own(stack: Stack, client: Client) -> None:
    [(name, photo)] = small_photos(1, side_px=160).items()
    height, width = decode(photo).rgb.shape[:2]
    half = width // 2
    files = {name: photo}
    for mask, values in {"white": (255, 255), "black": (0, 0), "left": (255, 0), "right": (0, 255)}.items():
        row = np.repeat(np.array(values, np.uint8), (half, width - half))
        files[mask] = encode(Picture(rgb=np.broadcast_to(row[:, None], (height, width, 3))), "png")
    places = {place.rpartition("/")[2]: place for place in upload(client, files)}
    store = BlobStore(stack.addresses.storage)

    def painted(style: str, *regions: tuple[str, str], **options: Any) -> bytes:
        request = JobRequest(
            input=JobInput(uris=(places[name],)),
            styles=(style,),
            regions=tuple(Region(style=style, mask=places[mask]) for style, mask in regions),
            output=Output(format="png"),
            **options,
        )
        outcome = finish(stack, client, client.submit(request))
        check_complete(outcome)
        shown = [
            {"style": each.style.name, "style_version": each.style.version, "mask": each.mask}
            for each in outcome.job.regions
        ]
        assert [(each["style"], each["mask"]) for each in shown] == [(style, places[mask]) for style, mask in regions]
        assert [line.get("regions", []) for line in outcome.results] == [shown]
        return store.get(BlobUri.parse(str(outcome.items[0].output)))

    blend = "great_wave:0.6,udnie:0.4"
    for options in ({}, {"precision": "exact"}, {"strength": 0.5, "preserve_color": True, "stroke": 2.0}):
        wave, blended = painted("great_wave", **options), painted(blend, **options)
        assert wave != blended
        assert painted("udnie", ("great_wave", "white"), **options) == wave
        assert painted(blend, ("great_wave", "black"), **options) == blended
        sides = (("great_wave", "left"), (blend, "right"))
        for regions in (sides, (("udnie", "white"), *reversed(sides))):
            halves = decode(painted("udnie", *regions, **options)).rgb
            np.testing.assert_array_equal(halves[:, :half], decode(wave).rgb[:, :half])
            np.testing.assert_array_equal(halves[:, half:], decode(blended).rgb[:, half:])


def test_faces_that_are_protected_keep_the_drawing_of_the_photo(stack: Stack, client: Client) -> None:
    person = np.asarray(dict(pictures())["astronaut"])[:256, 96:352]
    [place] = upload(client, {"person.png": encode(Picture(rgb=person), "png")})
    store, results = BlobStore(stack.addresses.storage), []
    for faces in ("paint", "protect", "protect"):
        request = JobRequest(
            input=JobInput(uris=(place,)), styles=("great_wave",), faces=faces, output=Output(format="png")
        )
        outcome = finish(stack, client, client.submit(request))
        assert (outcome.job.status, outcome.job.faces) == ("succeeded", faces)
        results.append(decode(store.get(BlobUri.parse(str(outcome.items[0].output)))).rgb)
    painted, protected, again = results
    np.testing.assert_array_equal(again, protected)
    face = (slice(80, 160), slice(95, 160))
    photo, *drawings = (grey_levels(each)[face].ravel() for each in (person, painted, protected))
    alike = [np.corrcoef(photo, drawing)[0, 1] for drawing in drawings]
    assert alike[1] > 0.83 > alike[0]
    np.testing.assert_array_equal(protected[210:], painted[210:])


def test_cancelled_job_keeps_its_finished_images(stack: Stack, client: Client) -> None:
    uris = upload(client, small_photos(60, side_px=160))
    job = submit(client, uris, STYLES)
    while client.job(job.id).counts.succeeded == 0:
        pass
    client.cancel(job.id)
    outcome = finish(stack, client, job)
    assert outcome.job.status == "cancelled"
    assert outcome.job.counts.succeeded > 0
    assert outcome.job.counts.cancelled > 0
    check_complete(outcome)
