"""Paints photos in the styles of a chunk, with its strokes, where masks and faces say, in the size of the result."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from nst_core.faces.detector import FaceDetector
from nst_core.faces.face import Face
from nst_core.faces.protection import Protection, without_faces
from nst_core.images import Picture
from nst_core.inference.blend import Weight, blend
from nst_core.inference.forms import NO_FORMS, Levels
from nst_core.inference.painted_faces import with_painted_faces
from nst_core.inference.painting import in_strokes
from nst_core.inference.planes import planes
from nst_core.inference.regions import EVERYWHERE, paint_region, seen
from nst_core.inference.side_by_side import is_small, side
from nst_core.inference.strength import mixed_share, painted_share
from nst_core.inference.stylizer import Pixels, Stylizer
from nst_core.inference.tones import toned
from nst_core.metrics import Stage
from nst_core.protocol.chunks import StylizeOptions
from nst_core.upscaling.network import Factor
from nst_core.upscaling.upscaler import enlarged_opacity, load_upscaler
from worker.methods.stylize.image import Image
from worker.methods.stylize.masks import Weights
from worker.runtime.engine import Engine

_T = TypeVar("_T")
#: With these options, faces stay faces.
_KEPT = ("fine", "protect")


class Painter:
    """Paints photos on the engine's threads; what is not done by networks runs on the caller's."""

    def __init__(self, engine: Engine) -> None:
        """Use an engine."""
        self._engine = engine
        #: Loaded for the first photo whose faces are to be found, on a thread of the engine.
        self._detector = cache(FaceDetector)

    def __call__(self, image: Image, picture: Picture, weights: Weights) -> Picture:
        """Return the result for a photo."""
        return self._enlarged(image, self._painted(image, picture, weights))

    def _painted(self, image: Image, picture: Picture, weights: Weights) -> Picture:
        """Return the stylized picture: the chunk's style, then each region over it, as far as they are seen."""
        options, weight = image.run.chunk.options, weights.photo
        if options.strength == 0.0:
            return picture
        finds_faces = options.faces in _KEPT or options.forms == "planes" or options.stroke == "varied"
        faces = self._on_engine(image, lambda: self._faces(image, picture.rgb)) if finds_faces else ()
        with image.watch:
            plan = _Plan.of(picture, weight, faces, options)
            (lowest, _), *regions = seen((EVERYWHERE, *weights.regions))
        rgb = self._in_style(image, picture.rgb, lowest, plan)
        for place, (region, _) in enumerate(regions):
            painted = self._in_style(image, picture.rgb, region, plan)
            with image.watch:
                rgb = paint_region(rgb, painted, [each for _, each in regions[place:]])
            del painted  # before the next one is painted
        with image.watch:
            rgb = blend(picture.rgb, rgb, weight=weight)
        return Picture(rgb=rgb, alpha=picture.alpha, warning=picture.warning)

    def _in_style(self, image: Image, photo: Pixels, place: int, plan: "_Plan") -> Pixels:
        """Return a photo in one of the run's styles, as the options say: strokes, forms, strength, colours, faces."""
        network, options = image.run.networks[place], image.run.chunk.options

        def paint(copy: Pixels) -> Pixels:
            image.run.touch()
            with image.watch.paused():
                return self._on_engine(
                    image,
                    lambda: _stylize(image, network, copy, beside=self._engine.has_company),
                    small=is_small(copy, network.choice),
                )

        with image.watch:
            fades = image.run.styles[place].fades
            rgb = in_strokes(
                photo,
                options.stroke,
                paint,
                forms=plan.forms,
                broad=plan.broad,
                strength=painted_share(options.strength, fades=fades),
                min_side_px=network.min_side_px,
            )
            strength = mixed_share(options.strength, fades=fades)
            rgb = blend(photo, rgb, strength=strength, preserve_color=options.preserve_color)
            if (kept := plan.kept) is None:
                return rgb
            # The tones of a weak picture are near to the photo's own. Towards 0, the result is to be the photo.
            share = mixed_share(options.strength, fades=True)
            drawing = photo
            if options.faces == "fine":
                drawing = with_painted_faces(
                    photo,
                    kept.faces,
                    options.stroke,
                    paint,
                    strength=share,
                    preserve_color=options.preserve_color,
                    min_side_px=network.min_side_px,
                )
            # A picture in the photo's colours and light has its tones already.
            if options.preserve_color:
                return blend(drawing, rgb, weight=kept.weight)
            return toned(drawing, rgb, kept.weight, kept.near, share=share)

    def _enlarged(self, image: Image, picture: Picture) -> Picture:
        """Return a painted picture in the size of its result."""
        factor = image.run.chunk.options.upscale
        if factor == 1:
            return picture
        image.run.touch()
        rgb = self._on_engine(image, lambda: _enlarge(image, factor, picture.rgb, self._engine.proceed))
        with image.watch:
            alpha = None if picture.alpha is None else enlarged_opacity(picture.alpha, factor)
        return Picture(rgb=rgb, alpha=alpha, warning=picture.warning)

    def _faces(self, image: Image, rgb: Pixels) -> tuple[Face, ...]:
        """Return the faces on a photo, on a thread of the engine."""
        image.run.check()
        with image.watch:
            return self._detector()(rgb)

    def _on_engine(self, image: Image, call: Callable[[], _T], *, small: bool = False) -> _T:
        """Return what a call returns on a thread of the engine, when it is the image's turn."""
        return self._engine.run(
            call,
            order=(image.run.order, image.item.index),
            lane=image.run.chunk.job_id,
            small=small,
            waits=image.run.touch,
        )


@dataclass(frozen=True)
class _Plan:
    """Where a photo is painted in which way; the same for all styles of a picture."""

    #: What the networks see in flat parts, beside the photo.
    forms: Levels | None
    #: Where strokes may be broad.
    broad: Weight | None
    #: The faces that stay faces.
    kept: Protection | None

    @classmethod
    def of(cls, picture: Picture, mask: Weight | None, faces: Sequence[Face], options: StylizeOptions) -> "_Plan":
        """Plan a picture of a photo with these faces; forms and broad strokes are kept away from them.

        Planes would cut a cheek in two, and an eye is not to be painted over a broad stroke.
        """
        height, width = picture.rgb.shape[:2]
        away = without_faces(faces, height=height, width=width) if faces else None
        protection = None
        if options.faces in _KEPT:
            protection = Protection.of(faces, height=height, width=width, opacity=picture.alpha)
        forms = NO_FORMS if options.forms == "none" else None
        if options.forms == "planes":
            forms = _planes(picture, (away, mask))
        return cls(forms, away, protection)


def _planes(picture: Picture, weights: Iterable[Weight | None]) -> Levels:
    """Return planes where weights are, and the photo can be seen."""
    return planes(picture.rgb, [each for each in (*weights, picture.alpha) if each is not None])


def _enlarge(image: Image, factor: Factor, rgb: Pixels, progress: Callable[[], object]) -> Pixels:
    """Enlarge a painted picture, on a thread of the engine."""
    image.run.check()
    with image.stage(Stage.STYLIZE):
        return load_upscaler(factor)(rgb, progress)


def _stylize(image: Image, network: Stylizer, rgb: Pixels, *, beside: bool) -> Pixels:
    """Stylize one H x W x 3 photo, on a thread of the engine, perhaps `beside` another one."""
    image.run.check()
    with image.stage(Stage.STYLIZE), side(beside and is_small(rgb, network.choice)):
        # Always one image: a larger batch may sum in another order, and a chunk that is retried after a crash is
        # grouped differently, although its images must come out the same to the last byte.
        result: Pixels = network(rgb[np.newaxis])[0]
    return result
