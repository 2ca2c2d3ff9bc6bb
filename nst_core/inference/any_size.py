"""Photos of any size with any engine: whole up to a limit, above it in strips."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nst_core.errors import ImageTooLargeError
from nst_core.inference.strips import Define, LargePicture, StripSize, supports
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels, Stylizer, check_call, is_flat, is_nearly_flat
from nst_core.nets.costs import maps_in_memory, strips_bytes, strips_max_pixels, stylize_bytes
from nst_core.nets.grain import grained
from nst_core.nets.transformer_config import TransformerConfig

#: Photos up to this size go through the network as a whole if there is memory for it, which is faster: about that of
#: a phone's photo.
WHOLE_PIXELS = 12_500_000
#: The same for the reference engine. Its results are to be the same on every worker, and whole pictures and strips
#: differ in the last bits, so this does not depend on memory: what has no room is refused. A worker with 4 GiB has room
#: for all.
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

        The reference engine does not cut these smaller ones, and refuses them. `progress` is called after each strip: a
        large photo takes minutes.
        """
        self._engine = engine
        self._progress = progress
        self._budget_bytes = budget_bytes
        self._cuts = supports(engine.config)
        self._is_exact = engine.choice == EXACT
        self._rounds = self._cuts and engine.choice.precision == "int16"
        self._whole_pixels = whole_pixels
        if budget_bytes is not None and not self._is_exact:
            self._whole_pixels = min(whole_pixels, engine.max_pixels(budget_bytes))

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
        if not self._cuts or (self._is_exact and whole < self._whole_pixels):
            return whole
        return max(min(whole, self._whole_pixels), strips_max_pixels(self._engine.config, budget_bytes))

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`.

        Raises ImageTooLargeError also for what would need more than the budget. That is not only what has more than
        `max_pixels`: strips of a very wide photo are large.
        """
        check_call(batch, min_side_px=self.min_side_px)
        height, width = batch.shape[1:3]
        engine, config = self._engine, self._engine.config
        if self._rounds and len(batch) > 1:
            return np.concatenate([self(photo[None]) for photo in batch])
        # Always in strips, so that its bytes do not depend on memory: as a whole, maps are rounded less.
        floats = self._rounds and is_nearly_flat(batch[0], config.grain)
        if not floats and (not self._cuts or height * width <= self._whole_pixels):
            self._check_memory(height, width, stylize_bytes(config, height * width))
            return engine(np.stack([grained(photo, config.grain) for photo in batch]) if config.grain else batch)
        room = engine.strip_size.room(height, width)
        self._check_memory(height, width, strips_bytes(config, height * width, room=room))
        results = np.empty_like(batch, order="C")
        maps = maps_in_memory(config, height * width, self._budget_bytes, room=room)
        for photo, result in zip(batch, results, strict=True):
            if not config.grain and is_flat(photo):  # so is its picture, of any size
                result[:] = engine(photo[None, : self.min_side_px, : self.min_side_px])[0, 0, 0]
                continue
            large = LargePicture(
                config,
                engine.tensors,
                photo,
                self._run,
                size=engine.strip_size,
                in_memory_bytes=maps,
                floats=floats,
            )
            large.picture(result)
            del large
            engine.release()
        return results

    def _check_memory(self, height: int, width: int, needed: int) -> None:
        """Raise ImageTooLargeError for a photo that needs more bytes than the budget has."""
        budget = self._budget_bytes
        if budget is None or needed <= budget:
            return
        otherwise = ", or for another precision than exact" if self._is_exact else ""
        raise ImageTooLargeError(
            f"To paint {width:,} x {height:,} pixels would take {needed / 1e9:,.1f} GB of memory, and "
            f"{budget / 1e9:,.1f} GB may be used here: ask for a smaller result (max_px, --max-px){otherwise}."
        )

    def _run(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        outputs = self._engine.run_pass(key, define, inputs)
        self._progress()
        return outputs
