"""The chunk message, which scheduler and worker share."""

from dataclasses import dataclass

from nst_core.protocol.chunks import ChunkMessage


@dataclass(frozen=True, kw_only=True)
class GreyChunk(ChunkMessage):
    """The message of the method grey."""

    queue = "toy.grey"

    #: 0 leaves the colours, 1 removes them.
    amount: float
