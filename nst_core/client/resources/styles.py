"""Styles, their versions, and presets."""

from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from nst_core.blends import is_blend, parse_blend, text_of
from nst_core.client.resources.base import Request, Resource, Uri, shown
from nst_core.client.resources.pages import Page
from nst_core.errors import ConfigError

#: Stricter than the names of existing styles: a new name becomes part of file names, where . and .. are folders.
NEW_STYLE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
#: At least the first 8 digits of a version.
VERSION_PATTERN = r"^[0-9a-f]{8,64}$"
NewStyleName = Annotated[str, StringConstraints(pattern=NEW_STYLE_PATTERN)]
#: NAME, or NAME@ and at least the first 8 digits of a version.
PinnedStyle = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,64}(@[0-9a-f]{8,64})?$")]
#: Names of any length, which a regular expression of usual size can have once only; the parser checks the length.
_SHARE = r"[\w.-]+(@[0-9a-f]{8,64})?:[0-9]{1,9}(\.[0-9]{1,9})?"
#: A pinned style, or a blend such as great_wave:0.6,udnie:0.4.
PAINTED_PATTERN = rf"^([\w.-]{{1,64}}(@[0-9a-f]{{8,64}})?|{_SHARE}(,{_SHARE}){{1,3}})$"


def _normalised(text: str) -> str:
    try:
        return text_of(parse_blend(text)) if is_blend(text) else text
    except ConfigError as error:
        raise ValueError(error.message) from error


#: A pinned style, or a blend of 2 to 4, NAME:SHARE,NAME:SHARE, whose shares then sum to 1.
PaintedStyle = Annotated[str, StringConstraints(pattern=PAINTED_PATTERN), AfterValidator(_normalised)]
_STYLE: dict[str, Any] = {
    "name": "great_wave",
    "version": "4f" * 32,
    "index": 0,
    "card": {"title": "Under the Wave off Kanagawa", "artist": "Katsushika Hokusai", "year": "about 1831"},
}


class StyleRequest(Request):
    """The weights of a style, and what is known about it."""

    model_config = shown({"weights": "s3://nst/weights/great_wave.safetensors", "card": _STYLE["card"]})

    weights: Uri = Field(description="A weights file of nst, such as `python -m nst_core.peers` writes.")
    card: dict[str, Any] = Field(
        {},
        description="Title, artist, year, rights, and anything else worth showing. `look`, an object with `stroke`, "
        "`forms` and `faces`, says how jobs with `look: gallery` paint in this style.",
    )
    index: int = Field(
        0, ge=0, lt=1000, description="Which style of the network it is, from 0, if the network has several."
    )
    replace: bool = Field(False, description="Replace the present version if the style has another one.")


class PublishRequest(Request):
    """Which version a style's name stands for from now on."""

    model_config = shown({"version": "4f4f4f4f"})

    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] = Field(
        description="At least its first 8 digits."
    )


class StyleRef(Resource):
    """One version of a style."""

    name: str
    version: str = Field(description="64 hex digits that identify the version.")


class StylePart(StyleRef):
    """A style of a blend."""

    share: float = Field(description="Above 0 and below 1; the shares of a blend sum to 1.")


class JobStyle(StyleRef):
    """A style of a job, or a blend of styles."""

    parts: tuple[StylePart, ...] = Field((), description="The styles of a blend.")


class Style(StyleRef):
    """A style and its card: painting, artist, year, rights, data, training."""

    model_config = shown(_STYLE)

    index: int = Field(0, description="Which style of the network in the weights file it is, from 0.")
    card: dict[str, Any] = Field({})


class StylePage(Page[Style, str]):
    """A page of styles; their names are the ids."""

    id_field = "name"


class StyleVersion(Style):
    """A version of a style, and its card."""

    model_config = shown(
        _STYLE | {"current": True, "published": True, "run": None, "created_at": "2026-11-22T12:00:00Z"}
    )

    current: bool = Field(False, description="Whether the style's name stands for this version.")
    published: bool = Field(True, description="Whether the name ever stood for it; if not, only its owner sees it.")
    run: str | None = Field(None, description="The run that made it, if one did.")
    created_at: AwareDatetime


class StyleVersionPage(Page[StyleVersion, str]):
    """A page of the versions of a style, newest first; they are the ids."""

    id_field = "version"


class Preset(Resource):
    """A named set of options, for the method optimize or for trainings."""

    model_config = shown(
        {
            "name": "gatys2016",
            "summary": "content + gram; L-BFGS, 500 iterations, 512 px",
            "config": {"iterations": 500, "size_px": 512},
            "families": [],
        }
    )

    name: str
    summary: str
    config: dict[str, Any] = Field({})
    families: tuple[str, ...] = Field((), description="The families that styles can join, if it trains such styles.")


class PresetPage(Page[Preset, str]):
    """A page of presets; their names are the ids."""

    id_field = "name"
