"""What bodies of requests have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^s3://")]
#: NAME, or NAME@ and at least the first 8 digits of a version.
PinnedStyle = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,64}(@[0-9a-f]{8,64})?$")]


class Body(BaseModel):
    """The body of a request, or a part of it. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
