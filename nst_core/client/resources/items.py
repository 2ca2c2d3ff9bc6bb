"""Items: each photo of a job with each of its styles."""

from enum import StrEnum

from pydantic import Field

from nst_core.client.resources.base import Failure, Resource, shown
from nst_core.client.resources.pages import Page


class ItemStatus(StrEnum):
    """The status of one photo with one style."""

    PENDING = "pending"  # waits for a worker
    RUNNING = "running"  # in a chunk that a worker has started
    SUCCEEDED = "succeeded"  # its output is in storage
    FAILED = "failed"  # it has an error code and a sentence, and no output
    CANCELLED = "cancelled"  # the job was cancelled before its turn

    @property
    def is_terminal(self) -> bool:
        return self in (ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.CANCELLED)


class Progress(Resource):
    """How far an item has come that takes many iterations, as the worker last reported."""

    iteration: int = Field(description="The iterations that are done.")
    iterations: int = Field(description="The iterations after which it is finished.")
    losses: dict[str, float] = Field({}, description="The weighted terms of the loss.")
    preview: bool = Field(False, description="Whether `/items/{item_id}/preview` has a picture.")


class Item(Resource):
    """One photo of a job with one style."""

    model_config = shown(
        {
            "id": 17,
            "input": "s3://nst/photos/harbour.jpg",
            "custom_id": None,
            "mask": None,
            "regions": [],
            "style": "great_wave",
            "status": "succeeded",
            "output": "s3://nst/painted/harbour__great_wave.jpg",
            "width": 1600,
            "height": 1067,
            "bytes": 402118,
            "sha256": "9c" * 32,
            "engine": "openvino",
            "precision": "fp32",
            "attempt": 1,
            "progress": None,
            "error": None,
            "warning": None,
        }
    )

    id: int = Field(description="The item's position in the job, from 0.")
    input: str = Field(description="The address of the photo.")
    custom_id: str | None = Field(None, description="The id that the manifest gives the photo.")
    mask: str | None = Field(None, description="The address of the mask that the manifest gives the photo.")
    regions: tuple[str | None, ...] = Field(
        (), description="The addresses of the masks of regions that the manifest gives the photo; null: the job's."
    )
    style: str = Field(description="The style or the blend; for the method optimize, the painting's name.")
    status: ItemStatus = Field(description="What becomes of the item at the moment, or how it ended.")
    output: str | None = Field(None, description="The address of the result, once the item has succeeded.")
    width: int | None = Field(None, description="In pixels.")
    height: int | None = Field(None, description="In pixels.")
    bytes: int | None = Field(None, description="The size of the result's file.")
    sha256: str | None = Field(None, description="The SHA-256 of the result's file, as hex digits.")
    engine: str | None = Field(
        None, description="The engine that made the result; null if the method has no engines, as optimize."
    )
    precision: str | None = Field(None, description="The precision of the engine: fp32, int16, bf16, fp16 or int8.")
    attempt: int | None = Field(
        None,
        description="How often the item's chunk had been sent to workers when the item ended; null before. Jobs are "
        "sent in chunks of several items.",
    )
    progress: Progress | None = Field(
        None, description="How far a running item is, for the method optimize; null for others."
    )
    error: Failure | None = Field(None, description="Why the item failed.")
    warning: str | None = Field(
        None, description="A sentence if the output may be unexpected, such as the first frame of an animation."
    )


class ItemPage(Page[Item, int]):
    """A page of items."""
