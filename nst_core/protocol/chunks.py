"""The messages that start the work on a chunk: a Celery task for each method, with plain JSON as its argument.

A message is only a hint with ids, keys and options; the scheduler's database is the truth. It carries the chunk's
attempt number, a fencing token: the scheduler ignores events of an attempt that it has replaced. Unknown fields are
ignored, so that schedulers and workers of two versions can run side by side.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from nst_core.protocol.codec import dump, load

#: The folder of checkpoints below a job's scratch prefix.
CHECKPOINTS = "checkpoints/"
#: How large the strokes are in relation to those at the photo's own size; "auto": as in a photo of one megapixel;
#: "fine": as the network paints them, and in larger photos as "auto"; "varied": of several sizes. See
#: `nst_core.inference.strokes`.
Stroke = Annotated[float, Field(ge=0.5, le=4, strict=True)] | Literal["auto", "fine", "varied"]
#: What a picture shows in flat parts of the photo. See `nst_core.inference.planes`.
Forms = Literal["none", "planes"]
#: What becomes of faces. See `nst_core.faces.protection`.
Faces = Literal["paint", "fine", "protect"]


@dataclass(frozen=True, kw_only=True)
class BlendPart:
    """A style of a blend."""

    name: str
    version: str
    #: s3:// address of the weights file.
    weights: str
    index: int = 0
    #: Above 0 and below 1, in thousandths; the shares of a blend sum to 1.
    share: float


@dataclass(frozen=True, kw_only=True)
class StyleRef:
    """One immutable version of a style, or of a blend of styles."""

    #: That of a blend is as `nst_core.blends` writes it.
    name: str
    #: Identifies the style for ever; see `version_of` and `version_of_blend` in `nst_core.styles`.
    version: str
    #: s3:// address of the weights file; empty for a blend, and if the method needs none.
    weights: str = ""
    #: Which style of the network it is, from 0: a network can have many styles.
    index: int = 0
    #: The styles of a blend; empty for an ordinary style.
    parts: tuple[BlendPart, ...] = ()
    #: Whether the network, or that of each part, has the identity beside the style, so that it can paint less.
    fades: bool = False


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of photos that is painted in a style of its own."""

    style: StyleRef
    #: s3:// address of a picture that says where: white is the region, black is not. None: only photos with a mask of
    #: their own have the region.
    mask: str | None = None


@dataclass(frozen=True, kw_only=True)
class StylizeOptions:
    """How every image of a job is stylized and saved."""

    #: From 0, the unchanged photo, to 1, the full style.
    strength: float = 1.0
    #: Keep the photo's colours and take only the luminance from the style.
    preserve_color: bool = False
    #: s3:// address of a picture that says where photos are painted: white is painted, black is the photo. Stretched to
    #: the size of each photo. None: everywhere.
    mask: str | None = None
    #: protect: faces are drawn as in the photo, so that they stay faces. fine: and large ones in fine strokes.
    #: paint, and None: as everything else.
    faces: Faces | None = None
    #: Parts of the photos in other styles; later ones lie over earlier ones. See `nst_core.inference.regions`.
    regions: tuple[Region, ...] = ()
    #: The engine: auto is the one of the worker, exact is `nst_core.inference.stylizer.EXACT`.
    precision: Literal["auto", "exact"] = "auto"
    #: Longest side of the output in pixels; a larger photo is scaled down first. None keeps the photo's own size.
    max_px: int | None = None
    #: None: as the network paints them, which is as 1.
    stroke: Stroke | None = None
    #: None: clouds with strokes of several sizes, and else nothing.
    forms: Forms | None = None
    #: How many times as long as the painted picture's the sides of the result are; see `nst_core.upscaling`.
    upscale: Literal[1, 2, 4] = 1
    #: JPEG and lossy WebP quality, 1 to 100.
    quality: int = 92


@dataclass(frozen=True, kw_only=True)
class ChunkItem:
    """One image of a chunk."""

    #: Position in the job, from 0.
    index: int
    #: s3:// address of the photo.
    input: str
    #: s3:// address of the result; its suffix (jpg, png, webp) selects the format.
    output: str
    #: s3:// address of the photo's own mask, instead of the one of `StylizeOptions`.
    mask: str | None = None
    #: s3:// addresses of the photo's own masks of the regions, in their order, instead of those of `StylizeOptions`.
    #: None, and what is missing at the end: as for all photos.
    regions: tuple[str | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChunkMessage:
    """What the messages of all methods have in common. A method adds what its workers need in a subclass."""

    #: The Celery queue of the method, which is also the name of its task. Each method has a queue of its own, so that
    #: photos that take a second do not wait for photos that take minutes.
    queue: ClassVar[str]

    job_id: str
    chunk_id: int
    attempt: int
    items: tuple[ChunkItem, ...]
    #: This chunk may have killed workers, so a worker does nothing else while it processes it.
    alone: bool = False
    #: Where the message belongs in a trace, as in the header of W3C Trace Context; None if nobody records it.
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class StylizeChunk(ChunkMessage):
    """The message of the method feedforward."""

    queue = "nst.stylize"

    style: StyleRef
    options: StylizeOptions


@dataclass(frozen=True, kw_only=True)
class OptimizeChunk(ChunkMessage):
    """The message of the method optimize."""

    queue = "nst.optimize"

    #: s3:// address of the painting.
    painting: str
    #: A GatysConfig, from its `to_dict`.
    config: dict[str, Any]
    #: s3:// prefix, with a trailing slash, of the job's previews and checkpoints.
    scratch: str
    #: The number of iterations between two previews; 0 means no previews.
    preview_every: int = 0
    #: JPEG and lossy WebP quality, 1 to 100.
    quality: int = 92


def preview_uri(scratch: str, index: int) -> str:
    """Return the s3:// address of an item's preview, a JPEG."""
    return f"{scratch}previews/{index}.jpg"


def item_checkpoint_uri(scratch: str, index: int) -> str:
    """Return the s3:// address of an item's checkpoint."""
    return f"{scratch}{CHECKPOINTS}{index}.safetensors"


_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


def dump_chunk(chunk: ChunkMessage) -> dict[str, Any]:
    """Return a chunk as JSON-ready values."""
    return dump(chunk)


def load_chunk(cls: type[_Chunk], values: Any) -> _Chunk:
    """Return the chunk of `dump_chunk` values; raise ProtocolError if a field is missing or wrong."""
    return load(cls, values)
