"""The detector finds what OpenCV's FaceDetectorYN finds with the same network, on any copy of a photo."""

from collections.abc import Callable
from dataclasses import astuple
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from nst_core.faces.detector import FaceDetector
from nst_core.faces.face import Face

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("one_thread")

ASTRONAUT: Pixels = np.asarray(data.astronaut())  # type: ignore[no-untyped-call]
#: 512 x 512 px, grey: a man in profile, who looks into his camera.
CAMERA: Pixels = np.repeat(np.asarray(data.camera())[..., None], 3, axis=2)  # type: ignore[no-untyped-call]
#: A part whose sides are no multiples of 32.
PART = np.ascontiguousarray(ASTRONAUT[:200, 100:333])
SIDEWAYS = np.ascontiguousarray(np.rot90(ASTRONAUT))

detector = cache(FaceDetector)


def detect(photo: Pixels) -> tuple[Face, ...]:
    return detector()(photo)


def only(photo: Pixels) -> Face:
    (face,) = detect(photo)
    return face


def box(face: Face) -> tuple[float, ...]:
    return astuple(face)[:4]


# What OpenCV 5.0.0 printed for the published network in float32: box, landmarks and score.
GOLDEN = {
    "astronaut": (
        ASTRONAUT,
        (178.17, 62.91, 268.07, 176.24),
        ((200.1, 101.8), (247.1, 102.6), (220.4, 124.5), (198.6, 142.8), (239.7, 143.6)),
        0.9323,
    ),
    "camera": (
        CAMERA,
        (195.56, 113.06, 256.23, 194.11),
        ((234.5, 147.4), (248.2, 146.9), (251.4, 163.6), (232.7, 177.3), (242.8, 177.2)),
        0.8927,
    ),
    "part": (
        PART,
        (78.08, 65.84, 168.66, 176.21),
        ((100.9, 103.2), (147.2, 103.3), (123.6, 126.2), (102.8, 143.1), (142.7, 144.2)),
        0.9322,
    ),
    "sideways": (
        SIDEWAYS,
        (89.43, 245.69, 157.28, 332.86),
        ((130.0, 274.5), (140.7, 274.5), (145.3, 289.4), (130.8, 308.8), (139.7, 306.2)),
        0.84,
    ),
}


@pytest.mark.parametrize(("photo", "corners", "landmarks", "score"), GOLDEN.values(), ids=GOLDEN)
def test_faces_are_those_of_the_original(
    photo: Pixels, corners: tuple[float, ...], landmarks: tuple[tuple[float, float], ...], score: float
) -> None:
    face = only(photo)
    assert box(face) == pytest.approx(corners, abs=0.15)
    for mark, expected in zip(face.landmarks, landmarks, strict=True):
        assert mark == pytest.approx(expected, abs=0.15)
    assert face.score == pytest.approx(score, abs=0.002)


def resized(width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(ASTRONAUT).resize((width, height), Image.Resampling.BICUBIC))


def turned(degrees: float) -> Pixels:
    return np.asarray(Image.fromarray(ASTRONAUT).rotate(degrees, Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("width", "height"), [(96, 96), (640, 640), (641, 641), (700, 1000), (1000, 800), (2600, 2600), (3200, 3200)]
)
def test_a_box_is_in_pixels_of_the_photo_whatever_its_size(width: int, height: int) -> None:
    left, top, right, bottom = box(only(ASTRONAUT))
    x, y = width / 512, height / 512
    expected = Face(left=x * left, top=y * top, right=x * right, bottom=y * bottom, score=1)
    assert only(resized(width, height)).overlap(expected) > 0.75


def test_a_mirrored_photo_has_a_mirrored_face() -> None:
    face, mirrored = only(ASTRONAUT), only(np.ascontiguousarray(ASTRONAUT[:, ::-1]))
    back = Face(left=512 - mirrored.right, top=mirrored.top, right=512 - mirrored.left, bottom=mirrored.bottom, score=1)
    assert face.overlap(back) > 0.8
    assert [x for x, _ in mirrored.landmarks[:2]] == sorted(x for x, _ in mirrored.landmarks[:2])


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_a_face_is_found_on_a_photo_that_is_tilted(degrees: float) -> None:
    face = only(turned(degrees))
    angle = np.deg2rad(degrees)
    x, y = 223 - 256, 119.5 - 256
    middle = (256 + x * np.cos(angle) + y * np.sin(angle), 256 - x * np.sin(angle) + y * np.cos(angle))
    assert ((face.left + face.right) / 2, (face.top + face.bottom) / 2) == pytest.approx(middle, abs=15)


def test_a_face_upside_down_is_none() -> None:
    assert detect(np.ascontiguousarray(ASTRONAUT[::-1])) == ()


def test_colour_is_not_needed() -> None:
    grey = np.asarray(Image.fromarray(ASTRONAUT).convert("L").convert("RGB"))
    assert only(ASTRONAUT).overlap(only(grey)) > 0.9


def test_each_of_several_faces_is_found() -> None:
    pair = np.concatenate([ASTRONAUT, CAMERA], axis=1)
    assert sorted(round(face.left / 512) for face in detect(pair)) == [0, 1]
    assert [face.score for face in detect(pair)] == sorted((face.score for face in detect(pair)), reverse=True)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "coins", "moon", "brick", "page"])
def test_photos_without_people_have_no_faces(name: str) -> None:
    picture = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")
    assert detect(np.asarray(picture)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3000, 2), (31, 33), (32, 32)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_empty_photos_of_any_shape_have_no_faces(shape: tuple[int, int], value: int) -> None:
    assert detect(np.full((*shape, 3), value, np.uint8)) == ()


@pytest.mark.parametrize(
    "change", [lambda photo: photo[:, ::-1], lambda photo: photo.transpose(1, 0, 2), np.asfortranarray]
)
def test_photos_may_have_any_layout_in_memory(change: Callable[[Pixels], Pixels]) -> None:
    photo = change(ASTRONAUT)
    assert detect(photo) == detect(np.ascontiguousarray(photo))


def test_photos_stay_as_they_are_and_faces_are_the_same_each_time() -> None:
    photo = ASTRONAUT.copy()
    photo.setflags(write=False)
    assert detect(photo) == detect(photo) == FaceDetector()(photo)
    assert np.array_equal(photo, ASTRONAUT)
