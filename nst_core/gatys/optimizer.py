"""Optimise a picture so that it has the content of a photo and the style of a painting.

Gatys, Ecker, Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks". Like a training, an optimisation
is a plain object with `step()`. Its whole state is a few tensors, so that a process may die at any moment and another
one continues from the last state with the same result.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from nst_core.errors import ConfigError, NstError, WeightsError
from nst_core.gatys.adam import Adam
from nst_core.gatys.color import with_luminance
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.costs import DEFAULT_MAX_BYTES, optimize_max_pixels, plan
from nst_core.gatys.evaluation import balance, evaluator
from nst_core.gatys.lbfgs import LBFGS
from nst_core.gatys.objective import Features, Objective, check_network
from nst_core.gatys.scales import Size, check_picture, resize, scale_sizes, size_of
from nst_core.gatys.sources import (
    StyleSource,
    check_sources,
    largest_pixels,
    noise,
    prepare_content,
    prepare_styles,
)
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.system.devices import TrainingPrecision, on_device, training_precision

__all__ = ["GatysOptimizer", "Iterate", "StyleSource", "optimize"]

#: The prefix of the tensors of L-BFGS or Adam in a state.
DESCENT = "descent."
#: The default learning rates.
LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.02}


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """The result of one iteration."""

    #: The number of the iteration, from 1, over all scales.
    iteration: int
    #: The number of iterations of all scales.
    iterations: int
    #: Weighted losses by term (content, style, histogram, moments, sliced, mrf, laplacian, tv) of the picture after it.
    losses: dict[str, float]
    total: float
    #: Width and height of the scale.
    size_px: tuple[int, int]


class GatysOptimizer:
    """Runs iterations, shows the picture between them, and saves and restores its full state.

    The picture is optimised within 0 to 1, at one scale after the other, each starting from the one before. The result
    is the same for the same seed, number of threads and machine.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        config: GatysConfig,
        *,
        content: Tensor,
        styles: Sequence[StyleSource],
        device: torch.device,
        initial: Tensor | None = None,
        network: LossNetwork | None = None,
        precision: TrainingPrecision | None = None,
        compiled: bool = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
        on_tile: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare an optimisation on `device`; pictures are 1 x 3 x H x W, RGB in 0 to 1, of any size.

        `initial`: the picture to start from, where the config says "file". `network`: a loss network that the config
        fits, which is moved to the device; by default it is loaded. `precision`: evaluate the network so until that is
        no longer exact enough to make progress; None: what is fastest on the device.
        `compiled`: use torch.compile, which takes a minute for each scale. `max_bytes`: the memory, which decides
        whether a scale is optimised in tiles (see `costs.plan`); `on_tile` is called after each, since an iteration may
        take minutes then. Raises ConfigError if arguments do not fit together, ImageTooSmallError and
        ImageTooLargeError for sizes that the loss network or `max_bytes` forbid.
        """
        check_picture("The content picture", content)
        if (initial is not None) != (config.initial == "file"):
            raise ConfigError('A picture to start from must be given if and only if initial is "file".')
        if initial is not None:
            check_picture("The picture to start from", initial)
        self.config = config
        self.device = device
        self.iteration = 0
        self._styles = check_sources(config, styles, size_of(content))
        self._max_pixels = optimize_max_pixels(config, max_bytes)
        self._sizes = scale_sizes(config, size_of(content), max_pixels=self._max_pixels)
        largest = partial(largest_pixels, config, self._styles, last=self._sizes[-1], max_pixels=self._max_pixels)
        self._plans = [plan(config, largest(size=size), max_bytes) for size in self._sizes]
        coarse = config.coarse_iterations or config.iterations
        self._ends = list(accumulate([coarse] * (len(self._sizes) - 1) + [config.iterations]))
        self._content = content.detach().to(device, torch.float32, copy=True)
        self._initial = None if initial is None else initial.detach().to(device, torch.float32, copy=True)
        self._on_tile = on_tile
        self._compiled = compiled
        self._features = self._load(network, precision or training_precision(device))
        self._enter(0, self._first_canvas())

    @property
    def iterations(self) -> int:
        """The number of iterations of all scales."""
        return self._ends[-1]

    @property
    def done(self) -> bool:
        return self.iteration >= self.iterations

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the scale that the picture has."""
        height, width = size_of(self._descent.canvas)
        return width, height

    @torch.inference_mode(False)
    def step(self) -> Iterate:
        """Run one iteration: one evaluation of the loss, or a few if L-BFGS has to shorten its step.

        Raises ConfigError if the loss of the first picture is not finite, EngineError if Adam diverges with any
        learning rate, and NstError after the last iteration.
        """
        if self.done:
            raise NstError("The optimisation is complete: there are no more iterations.")
        if self.iteration == self._ends[self._scale]:
            self._enter(self._scale + 1, resize(self._shown(), self._sizes[self._scale + 1]))
        with torch.no_grad(), on_device(self.device):
            # For Adam, whose gradients are noisy anyway, the last one of the old directions is good enough.
            if self._objective.draw(self._draws(self.iteration)) and isinstance(self._descent, LBFGS):
                self._descent.renew()
            self._descent.step()
            self.iteration += 1
            self._take_average()
        losses = self._objective.losses(self._descent.parts)
        return Iterate(
            iteration=self.iteration,
            iterations=self.iterations,
            losses=losses,
            total=sum(losses.values()),
            size_px=self.size_px,
        )

    def preview(self) -> Tensor:
        """Return the present picture, 1 x 3 x h x w in 0 to 1, at the present scale."""
        shown = self._shown()
        if self.config.color == "luminance":
            shown = with_luminance(resize(self._content, size_of(shown)), shown)
        return shown.clamp(0, 1)

    def result(self) -> Tensor:
        """Return the present picture, 1 x 3 x H x W in 0 to 1, at the size of the last scale."""
        return resize(self.preview(), self._sizes[-1])

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return the full state as tensors on the CPU. On CPUs, an optimisation that restores it continues bit for bit.

        Only the first picture is random, so that no generator is part of the state. Without `copy`, some tensors are
        those of the optimisation itself, which the next step changes: the history of L-BFGS may have a gigabyte.
        """
        state = {
            "config": self._fingerprint(),
            "iteration": torch.tensor(self.iteration),
            "scale": torch.tensor(self._scale),
            "narrow": torch.tensor(self._objective.narrow),
            "weights": self._objective.weights,
            "canvas": self._descent.canvas,
            **{f"{DESCENT}{key}": value for key, value in self._descent.state().items()},
        }
        if self.config.average_decay:
            state |= {"average": self._average}
        own = {key: value.detach().cpu() for key, value in state.items()}
        return {key: value.clone() for key, value in own.items()} if copy else own

    @torch.inference_mode(False)
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state.

        Raises WeightsError if it is incomplete, or belongs to another config, other sizes, or a memory with which other
        tiles or another history are used.
        """
        try:
            if not torch.equal(state["config"], self._fingerprint()):
                raise WeightsError("The state of the optimisation belongs to another config or another memory limit.")
            scale = int(state["scale"])
            canvas = state["canvas"].to(self.device, copy=True)
            if size_of(canvas) != self._sizes[scale]:
                raise WeightsError("The state of the optimisation belongs to a picture of another size.")
            self._enter(scale, canvas)
            # The gradient of the state is that of the last iteration's directions.
            self._objective.draw(self._draws(int(state["iteration"]) - 1))
            self._objective.narrow = bool(state["narrow"])
            self._objective.weights.copy_(state["weights"])
            own = {key: value.to(self.device) for key, value in state.items() if key.startswith(DESCENT)}
            self._descent.restore({key.removeprefix(DESCENT): value for key, value in own.items()})
            if self.config.average_decay:
                self._average.copy_(state["average"])
            self.iteration = int(state["iteration"])
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise WeightsError(f"The state of the optimisation is damaged: {error}.") from error

    def _enter(self, scale: int, canvas: Tensor) -> None:
        """Begin a scale with a picture of its size."""
        config = self.config
        self._scale = scale
        self._objective = self._make_objective(self._sizes[scale], self._plans[scale].tile_pixels)
        canvas = canvas.contiguous()
        if config.balance:
            balance(self._objective, canvas)
        evaluate = evaluator(self._objective, compiled=self._compiled)
        rate = config.learning_rate or LEARNING_RATES[config.optimizer]
        self._descent: LBFGS | Adam
        if config.optimizer == "adam":
            self._descent = Adam(canvas, evaluate=evaluate, learning_rate=rate)
        else:
            history = self._plans[scale].history
            self._descent = LBFGS(canvas, evaluate=evaluate, history=history, learning_rate=rate, refine=self._refine)
        self._average = canvas.clone() if config.average_decay else canvas

    def _make_objective(self, size: Size, tile_pixels: int | None) -> Objective:
        colored = resize(self._content, size)
        return Objective(
            self.config,
            features=self._features,
            content=prepare_content(self.config, colored, size),
            styles=prepare_styles(
                self.config,
                self._styles,
                content=colored,
                size=size,
                last=self._sizes[-1],
                max_pixels=self._max_pixels,
            ),
            tile_pixels=tile_pixels,
            on_tile=self._on_tile,
        )

    @property
    def _start(self) -> int:
        """The number of iterations before the present scale."""
        return ([0, *self._ends])[self._scale]

    def _draws(self, iteration: int) -> int:
        """Return how often the sliced term has drawn new directions at the present scale, before an iteration."""
        return max(0, iteration - self._start) // self.config.sliced_iterations

    def _refine(self) -> bool:
        """Switch to float32; return whether that changed anything."""
        before, self._objective.narrow = self._objective.narrow, False
        return before

    def _first_canvas(self) -> Tensor:
        size = self._sizes[0]
        if self.config.initial == "noise":
            return noise(self.config, size).to(self.device)
        picture = self._content
        if self.config.initial == "style":
            picture = self._styles[0].image.detach().to(self.device, torch.float32)
        if self._initial is not None:
            picture = self._initial
        return prepare_content(self.config, picture, size).clamp(0, 1)

    def _take_average(self) -> None:
        """Add the picture to the average, with the bias correction of K. Crowson's style-transfer-pytorch."""
        decay = self.config.average_decay
        if decay:
            count = self.iteration - self._start
            self._average.lerp_(self._descent.canvas, (1 - decay) / (1 - decay**count))

    def _shown(self) -> Tensor:
        return self._average if self.config.average_decay else self._descent.canvas

    def _load(self, network: LossNetwork | None, precision: TrainingPrecision) -> Features | None:
        config = self.config
        if not config.layers:
            return None
        if network is None:
            network = load_loss_network(
                config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale
            )
        check_network(config, network)
        return Features(network, precision).to(self.device)

    def _fingerprint(self) -> Tensor:
        text = json.dumps([self.config.to_dict(), *map(asdict, self._plans)], sort_keys=True)
        return torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)


def optimize(
    config: GatysConfig,
    *,
    content: Tensor,
    styles: Sequence[StyleSource],
    device: torch.device,
    initial: Tensor | None = None,
    network: LossNetwork | None = None,
    on_iterate: Callable[[Iterate, GatysOptimizer], None] | None = None,
) -> Tensor:
    """Run an optimisation to its end and return the result, 1 x 3 x H x W in 0 to 1; see GatysOptimizer."""
    optimizer = GatysOptimizer(config, content=content, styles=styles, device=device, initial=initial, network=network)
    while not optimizer.done:
        iterate = optimizer.step()
        if on_iterate is not None:
            on_iterate(iterate, optimizer)
    return optimizer.result()
