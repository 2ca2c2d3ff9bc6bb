"""The methods of stylization and the options of each.

A method with options has a model of what a request may say, a model of what the job then does, and a field named after
the method in `MethodOptions` and `ResolvedOptions`. Nothing else in the API and the clients names a method's options.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from nst_core.client.resources.base import Options, Request, Resource

__all__ = [
    "DEFAULT_METHOD",
    "DEFAULT_PRESET",
    "DEFAULT_PREVIEW_EVERY",
    "MethodName",
    "MethodOptions",
    "Optimize",
    "ResolvedOptimize",
    "ResolvedOptions",
]

DEFAULT_METHOD = "feedforward"
DEFAULT_PRESET = "gatys2016"
DEFAULT_PREVIEW_EVERY = 25
#: The scheduler knows which methods there are.
MethodName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,16}$")]


class Optimize(Request):
    """Options of the method optimize: a preset, and the fields that differ from it."""

    preset: str = Field(DEFAULT_PRESET, max_length=64, description="A name that `GET /v1/presets` lists.")
    options: Options = Field({}, description="Fields of the preset's config with other values.")
    preview_every: int = Field(
        DEFAULT_PREVIEW_EVERY, ge=0, le=100_000, description="Iterations between two previews; 0: no previews."
    )


class ResolvedOptimize(Resource):
    """How the method optimize works on the photos of a job."""

    preset: str
    config: dict[str, Any] = Field(description="The preset's config with the options of the request.")
    preview_every: int = Field(description="Iterations between two previews; 0: no previews.")


class MethodOptions(BaseModel):
    """The options in a request; only those of its own method may be given."""

    model_config = ConfigDict(frozen=True)

    optimize: Optimize | None = Field(None, description="Only with the method optimize.")


class ResolvedOptions(BaseModel):
    """The options of a job; null for all methods but its own."""

    model_config = ConfigDict(frozen=True)

    optimize: ResolvedOptimize | None = Field(None, description="Null unless the method is optimize.")
