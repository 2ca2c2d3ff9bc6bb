"""Photos of any size with any engine: whole up to a limit, above it in strips."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nst_core.inference.strips import Define, LargePicture, StripSize, supports
from nst_core.inference.stylizer import EngineChoice, Pixels, Stylizer, check_call
from nst_core.nets.costs import maps_in_memory, strips_max_pixels
from nst_core.nets.grain import grained
from nst_core.nets.transformer_config import TransformerConfig

#: Photos up to this size go through the network as a whole if there is memory for it, which is faster: about that of
#: a phone's photo.
WHOLE_PIXELS = 12_500_000
#: The same for the reference engine. Its results are to be the same on every worker, and whole pictures and strips
#: differ in the last bits, so this must not depend on memory. A worker with 4 GiB has room for it.
EXACT_WHOLE_PIXELS = 1_500_000


class Engine(Stylizer, Protocol):
    """A `Stylizer` that can also run the passes of `strips`."""

    @property
    def config(self) -> TransformerConfig:
        """The kind of the network."""
        ...

    @property
    def tensors(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """The weights by their names in the network's state."""
        ...

    @property
    def strip_size(self) -> StripSize:
        """The size of strips that suits the engine, within the memory of `costs.strips_bytes`."""
        ...

    def run_pass(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a pass on one strip; see `strips.Run`."""
        ...

    def release(self) -> None:
        """Give back the memory that the last pass needed."""
        ...


class AnySizeStylizer:
    """A `Stylizer` that cuts what is too large for the engine into strips. The result has no seams."""

    def __init__(
        self,
        engine: Engine,
        *,
        budget_bytes: int | None = None,
        whole_pixels: int = WHOLE_PIXELS,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        """Cut photos of more than `whole_pixels`, and smaller ones that would need more than `budget_bytes` whole.

        `progress` is called after each strip: a large photo takes minutes.
        """
        self._engine = engine
        self._progress = progress
        self._budget_bytes = budget_bytes
        self._cuts = supports(engine.config)
        fitting = whole_pixels if budget_bytes is None else engine.max_pixels(budget_bytes)
        self._whole_pixels = min(whole_pixels, fitting)

    @property
    def choice(self) -> EngineChoice:
        """The choice of the engine."""
        return self._engine.choice

    @property
    def nbytes(self) -> int:
        """The memory that the loaded style takes, in bytes."""
        return self._engine.nbytes

    @property
    def min_side_px(self) -> int:
        """The engine's smallest side."""
        return self._engine.min_side_px

    @property
    def max_batch(self) -> int:
        """The engine's largest batch."""
        return self._engine.max_batch

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have; see `Stylizer.max_pixels`."""
        whole = self._engine.max_pixels(budget_bytes)
        if not self._cuts:
            return whole
        return max(min(whole, self._whole_pixels), strips_max_pixels(self._engine.config, budget_bytes))

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`."""
        check_call(batch, min_side_px=self.min_side_px)
        height, width = batch.shape[1:3]
        if not self._cuts or height * width <= self._whole_pixels:
            grain = self._engine.config.grain
            return self._engine(np.stack([grained(photo, grain) for photo in batch]) if grain else batch)
        config, results = self._engine.config, np.empty_like(batch, order="C")
        maps = maps_in_memory(config, height * width, self._budget_bytes)
        for photo, result in zip(batch, results, strict=True):
            engine = self._engine
            large = LargePicture(config, engine.tensors, photo, self._run, size=engine.strip_size, in_memory_bytes=maps)
            result[:] = large.picture()
            del large
            self._engine.release()
        return results

    def _run(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        outputs = self._engine.run_pass(key, define, inputs)
        self._progress()
        return outputs
