"""Jobs that protect faces: a worker finds them once in each photo, and draws them in the tones of the picture."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from nst_core import images
from nst_core.faces.detector import FaceDetector
from nst_core.faces.face import Face
from nst_core.faces.protection import near_faces, protect
from nst_core.inference.blend import blend
from nst_core.inference.forms import with_forms
from nst_core.inference.painted_faces import with_painted_faces
from nst_core.inference.painting import in_strokes
from nst_core.inference.planes import planes
from nst_core.inference.strength import mixed_share
from nst_core.inference.tones import toned
from nst_core.protocol.chunks import Region, StylizeChunk, StylizeOptions
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.kit import Calls, Invert, Pixels, make_chunk, outputs, photo
from worker.methods.stylize import painter
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.settings import WorkerSettings

PERSON: Pixels = np.asarray(data.astronaut())[:256, 96:352].copy()  # type: ignore[no-untyped-call]


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Counted(FaceDetector):
    """A detector that counts how often it is loaded, and remembers the photos that it saw."""

    loaded = 0
    seen: list[Pixels]

    def __init__(self) -> None:
        type(self).loaded += 1
        super().__init__()

    def __call__(self, photo: Pixels) -> tuple[Face, ...]:
        self.seen.append(photo)
        return super().__call__(photo)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    """The class of detectors that pipelines load."""
    monkeypatch.setattr(Counted, "loaded", 0)
    monkeypatch.setattr(Counted, "seen", [], raising=False)
    monkeypatch.setattr(painter, "FaceDetector", Counted)
    return Counted


@pytest.fixture
def worker(
    detector: type[Counted], settings: WorkerSettings, blobs: BlobStore, pipeline_engine: Engine
) -> Iterator[Pipeline]:
    """A pipeline whose detector is counted."""
    pipeline = Pipeline(settings, blobs=blobs, engine=pipeline_engine)
    yield pipeline
    pipeline.close()


def results(pipeline: Pipeline, blobs: BlobStore, chunk: StylizeChunk) -> dict[int, Pixels]:
    assert all(outcome.succeeded for outcome in pipeline.run(chunk, Invert(), going=lambda: True))
    return {index: images.decode(data).rgb for index, data in outputs(blobs, chunk).items()}


def test_faces_are_drawn_in_tones_and_the_rest_is_painted(worker: Pipeline, blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, [png(PERSON)], options=StylizeOptions(faces="protect"))
    result = results(worker, blobs, chunk)[0]
    (face,) = FaceDetector()(PERSON)
    places = [find([face], height=256, width=256) for find in (protect, near_faces)]
    np.testing.assert_array_equal(result, toned(PERSON, 255 - PERSON, *places))
    np.testing.assert_array_equal(result[210:], 255 - PERSON[210:])
    assert (result != 255 - PERSON).any()


def test_large_faces_are_painted_in_fine_strokes(worker: Pipeline, blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, [png(PERSON)], options=StylizeOptions(faces="fine", stroke=0.5))
    result = results(worker, blobs, chunk)[0]
    faces, drawing = FaceDetector()(PERSON), with_fine_faces(PERSON, stroke=0.5)
    places = [find(faces, height=256, width=256) for find in (protect, near_faces)]
    painted = in_strokes(PERSON, 0.5, lambda copy: 255 - copy)
    np.testing.assert_array_equal(result, toned(drawing, painted, *places))
    assert (drawing != PERSON).any()


def with_fine_faces(photo: Pixels, **options: Any) -> Pixels:
    return with_painted_faces(photo, FaceDetector()(photo), paint=lambda copy: 255 - copy, **options)


def test_fine_faces_of_weak_pictures_in_the_colours_of_the_photo(worker: Pipeline, blobs: BlobStore) -> None:
    options = StylizeOptions(faces="fine", strength=0.8, preserve_color=True)
    result = results(worker, blobs, make_chunk(blobs, [png(PERSON)], options=options))[0]
    share = mixed_share(0.8, fades=True)
    drawing = with_fine_faces(PERSON, stroke=None, strength=share, preserve_color=True)
    painted = blend(PERSON, 255 - PERSON, strength=0.8, preserve_color=True)
    kept = protect(FaceDetector()(PERSON), height=256, width=256)
    np.testing.assert_array_equal(result, blend(drawing, painted, weight=kept))


def test_a_photo_without_faces_is_painted_as_always(worker: Pipeline, blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, [photo()], options=StylizeOptions(faces="protect"))
    np.testing.assert_array_equal(results(worker, blobs, chunk)[0], 255 - images.decode(photo()).rgb)


def test_the_detector_is_loaded_once_and_sees_each_photo_once(
    worker: Pipeline, blobs: BlobStore, detector: type[Counted]
) -> None:
    for _ in range(2):
        options = StylizeOptions(faces="protect", stroke=2.0, max_px=128)
        results(worker, blobs, make_chunk(blobs, [png(PERSON), photo(), photo(1)], options=options))
    assert detector.loaded == 1
    assert sorted(photo.shape[:2] for photo in detector.seen) == [(32, 48)] * 4 + [(128, 128)] * 2


@pytest.mark.parametrize("options", [StylizeOptions(), StylizeOptions(faces="protect", strength=0.0)])
def test_no_detector_is_loaded_if_no_faces_are_to_be_found(
    worker: Pipeline, blobs: BlobStore, detector: type[Counted], options: StylizeOptions
) -> None:
    results(worker, blobs, make_chunk(blobs, [png(PERSON)], options=options))
    assert (detector.loaded, detector.seen) == (0, [])


@pytest.mark.parametrize("preserve_color", [False, True])
def test_faces_and_a_mask_work_together(worker: Pipeline, blobs: BlobStore, preserve_color: bool) -> None:
    mask = np.tile(np.array([0, 255], np.uint8).repeat(128), (256, 1))
    chunk = make_chunk(blobs, [png(PERSON)])
    uri = BlobUri(blobs.bucket, f"{chunk.job_id}/mask")
    blobs.put(uri, png(mask))
    options = StylizeOptions(faces="protect", mask=str(uri), strength=0.8, preserve_color=preserve_color)
    both = make_chunk(blobs, [png(PERSON)], options=options)
    result = results(worker, blobs, both)[0]
    faces = FaceDetector()(PERSON)
    kept, near = (find(faces, height=256, width=256) for find in (protect, near_faces))
    painted = blend(PERSON, 255 - PERSON, strength=0.8, preserve_color=preserve_color)
    if preserve_color:
        painted = blend(PERSON, painted, weight=kept)
    else:
        painted = toned(PERSON, painted, kept, near, share=mixed_share(0.8, fades=True))
    np.testing.assert_array_equal(result, blend(PERSON, painted, weight=mask))
    np.testing.assert_array_equal(result[:, :120], PERSON[:, :120])


#: A smooth portrait, as most are that fill a picture.
PORTRAIT: Pixels = np.asarray(Image.fromarray(PERSON[:140, 60:200]).resize((560, 560), Image.Resampling.BICUBIC))


def inside_face() -> tuple[slice, slice]:
    """Return rows and columns of the face of PORTRAIT, without the corners of its box."""
    (face,) = FaceDetector()(PORTRAIT)
    width, height = face.right - face.left, face.bottom - face.top
    rows = slice(round(face.top + height / 6), round(face.bottom - height / 6))
    return rows, slice(round(face.left + width / 6), round(face.right - width / 6))


def test_planes_are_kept_away_from_faces(worker: Pipeline, blobs: BlobStore, detector: type[Counted]) -> None:
    chunk = make_chunk(blobs, [png(PORTRAIT)], options=StylizeOptions(forms="planes"))
    seen, face = 255 - results(worker, blobs, chunk)[0], inside_face()
    np.testing.assert_array_equal(seen[face], PORTRAIT[face])
    assert np.abs(seen.astype(int) - PORTRAIT).max() > 20
    assert (with_forms(PORTRAIT, planes(PORTRAIT))[face] != PORTRAIT[face]).any()
    assert detector.loaded == 1


def test_broad_strokes_are_kept_away_from_faces(worker: Pipeline, blobs: BlobStore, detector: type[Counted]) -> None:
    chunk = make_chunk(blobs, [png(PORTRAIT)], options=StylizeOptions(stroke="varied"))
    seen, face = 255 - results(worker, blobs, chunk)[0], inside_face()
    np.testing.assert_array_equal(seen[face], PORTRAIT[face])
    assert np.abs(seen.astype(int) - PORTRAIT).max() > 20
    assert (in_strokes(PORTRAIT, "varied", lambda copy: 255 - copy)[face] != 255 - PORTRAIT[face]).any()
    assert detector.loaded == 1


def test_planes_are_where_a_photo_is_painted_and_can_be_seen(worker: Pipeline, blobs: BlobStore) -> None:
    sky = np.full((160, 240, 3), 200, np.uint8)
    sky[80:, 100:140] = 60
    opacity = np.full((160, 240), 255, np.uint8)
    opacity[:, :80] = 0
    file = io.BytesIO()
    Image.fromarray(np.dstack([sky, opacity])).save(file, "PNG")
    chunk = make_chunk(blobs, [file.getvalue()])
    uri = BlobUri(blobs.bucket, f"{chunk.job_id}/mask")
    mask = np.full((160, 240), 255, np.uint8)
    mask[:, 160:] = 0
    blobs.put(uri, png(mask))
    chunk = make_chunk(blobs, [file.getvalue()], options=StylizeOptions(forms="planes"))
    picture = images.decode(file.getvalue())
    levels = planes(picture.rgb, [opacity])
    opaque = slice(80, 240)
    expected = 255 - with_forms(picture.rgb, levels)
    np.testing.assert_array_equal(results(worker, blobs, chunk)[0][:, opaque], expected[:, opaque])
    chunk = make_chunk(blobs, [file.getvalue()], options=StylizeOptions(forms="planes", mask=str(uri)))
    seen = with_forms(picture.rgb, planes(picture.rgb, [mask, opacity]))
    expected = blend(picture.rgb, 255 - seen, weight=mask)
    np.testing.assert_array_equal(results(worker, blobs, chunk)[0][:, opaque], expected[:, opaque])
    assert (levels != 0).any()


def test_faces_are_found_once_and_protected_in_regions_too(
    worker: Pipeline, blobs: BlobStore, detector: type[Counted]
) -> None:
    upper = np.repeat(np.array([255, 0], np.uint8), 128)[:, None].repeat(256, axis=1)
    chunk = make_chunk(blobs, [png(PERSON)])
    uri = BlobUri(blobs.bucket, f"{chunk.job_id}/upper")
    blobs.put(uri, png(upper))
    regions = (Region(style=chunk.style, mask=str(uri)),)
    chunk = make_chunk(blobs, [png(PERSON)], options=StylizeOptions(faces="protect", regions=regions))
    found = worker.run(chunk, Invert(), regions=[Calls(lambda batch: batch // 2)], going=lambda: True)
    assert all(outcome.succeeded for outcome in found)
    faces = FaceDetector()(PERSON)
    places = [find(faces, height=256, width=256) for find in (protect, near_faces)]
    below, above = (toned(PERSON, painted, *places) for painted in (255 - PERSON, PERSON // 2))
    expected = np.where(upper[..., None] == 255, above, below)
    np.testing.assert_array_equal(images.decode(outputs(blobs, chunk)[0]).rgb, expected)
    assert detector.loaded == 1


def test_the_same_photo_gives_the_same_bytes(worker: Pipeline, blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, [png(PERSON)] * 2, options=StylizeOptions(faces="protect"))
    results(worker, blobs, chunk)
    first = outputs(blobs, chunk)
    results(worker, blobs, chunk)
    assert first[0] == first[1]
    assert outputs(blobs, chunk) == first
