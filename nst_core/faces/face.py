"""What is known of a face on a picture. Never loads torch."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face, upright on the picture. Coordinates are pixels from the left and from the top.

    The box reaches from the brow to the chin, and may reach beyond the picture.
    """

    left: float
    top: float
    right: float
    bottom: float
    #: How sure the detector is, 0 to 1.
    score: float
    #: x and y of both eyes, the tip of the nose and both corners of the mouth, the left one on the picture first.
    landmarks: tuple[tuple[float, float], ...] = ()

    @property
    def width(self) -> float:
        """The width of the box."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The height of the box."""
        return self.bottom - self.top

    def overlap(self, other: "Face") -> float:
        """Return the part of both boxes together that is in both, 0 to 1."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.width * self.height + other.width * other.height - shared)


def without_repeats(faces: Iterable[Face], *, most_overlap: float) -> tuple[Face, ...]:
    """Return faces by falling score, without those that overlap a surer one by more than `most_overlap`."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(face.overlap(surer) <= most_overlap for surer in kept):
            kept.append(face)
    return tuple(kept)
