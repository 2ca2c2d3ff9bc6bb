"""The Celery task of the method feedforward."""

import logging
from collections.abc import Iterator
from typing import Any

from nst_core.errors import NstError
from nst_core.inference.strength import painted_share
from nst_core.inference.stylizer import EXACT, EngineChoice, Stylizer
from nst_core.protocol.chunks import StyleRef, StylizeChunk
from nst_core.protocol.events import ItemOutcome
from worker.methods.report import ChunkReport
from worker.methods.stylize.models import ModelCache
from worker.methods.stylize.pipeline import Pipeline
from worker.methods.task import ChunkTask
from worker.runtime.outcomes import failure, retried
from worker.runtime.work import TaskParts

_log = logging.getLogger(__name__)


class StylizeTask(ChunkTask[StylizeChunk]):
    """Stylizes the photos of a chunk with the network of one style, and those of its regions."""

    chunk = StylizeChunk

    def __init__(self, parts: TaskParts, *, models: ModelCache[Any], pipeline: Pipeline, choice: EngineChoice) -> None:
        """Stylize with the engine of `choice`, except chunks that ask for the exact one."""
        super().__init__(parts)
        self._choice = choice
        self._models = models
        self._pipeline = pipeline

    def _outcomes(self, chunk: StylizeChunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        try:
            stylize = self._network(chunk, chunk.style, report)
            regions = [self._network(chunk, region.style, report) for region in chunk.options.regions]
        except NstError as error:
            yield from (failure(item, error) for item in chunk.items)
        else:
            yield from self._pipeline.run(
                chunk,
                stylize,
                regions=regions,
                going=lambda: self._going(report),
                outdated=report.is_outdated,
                touch=report.touch,
            )

    def _network(self, chunk: StylizeChunk, style: StyleRef, report: ChunkReport) -> Stylizer:
        """Return the network of one of a chunk's styles."""
        label = f"{report.label} style {style.name}"
        choice = EXACT if chunk.options.precision == "exact" else self._choice
        share = painted_share(chunk.options.strength, fades=style.fades)
        try:
            network: Stylizer = retried(
                lambda: self._models.get(style, choice, share=share),
                label=label,
                what="style",
                recovered=self._recovered,
                waits=report.touch,
            )
        except NstError as error:
            _log.error("%s: %s", label, error)
            raise
        return network
