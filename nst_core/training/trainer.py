"""Trains one transformer network for one style picture (Johnson et al. 2016, section 3), or for several.

A training is a plain object with `step()`. Its whole state is weights, optimizer moments and a step number, so that a
process may die at any moment and another one continues from the last checkpoint with the same result.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from nst_core.errors import ConfigError, TrainingDivergedError, WeightsError
from nst_core.nets import native
from nst_core.nets.families import beginning
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerNet
from nst_core.system.devices import TrainingPrecision, on_device, training_precision
from nst_core.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nst_core.training.config import TrainConfig
from nst_core.training.objective import (
    Grams,
    PerceptualObjective,
    drawn_styles,
    grid_shift,
    input_grain,
    sparse_noise,
)
from nst_core.training.photos import PhotoStream
from nst_core.training.prefetch import Prefetcher
from nst_core.training.sources import PhotoSource
from nst_core.training.step_losses import TERMS, StepLosses

_log = logging.getLogger(__name__)
#: What Adam keeps for each parameter.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Trainer:
    """Runs training steps and saves and restores the full state."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        network: LossNetwork,
        style: Tensor | Grams | Sequence[Tensor | Grams],
        photos: PhotoSource,
        device: torch.device,
        initial: TransformerNet | None = None,
        precision: TrainingPrecision | None = None,
        compiled: bool | None = None,
        threads: int = 1,
    ) -> None:
        """Prepare a training on `device` for a style picture, 1 x 3 x H x W in 0 to 1, or for several.

        A picture may be given by its `style_grams`, which take long for a large one, on the device of the network.
        The network begins with the weights of `initial`, as `families.beginning` says, or with random ones.
        `precision` and `compiled` trade exactness for speed; None: what makes the training fastest on the device.
        `threads` read photos ahead. Raises ConfigError if the config does not fit the loss network, the initial network
        or the number of pictures.
        """
        self.config = config
        #: What the training is made from, such as hashes of files, for the record in checkpoints; JSON-ready.
        self.origin: dict[str, Any] = {}
        self.extensions: tuple[tuple[int, int], ...] = ()
        self.step_number = 0
        self.device = device
        self._precision = precision or training_precision(device)
        self._has_compiled = False
        self.transformer = _transformer(config, initial).to(device).to(memory_format=torch.channels_last)
        network = network.to(device).to(memory_format=torch.channels_last)
        self._learning = dict(_learning(config, self.transformer))
        styles = [style] if isinstance(style, Tensor | dict) else style
        config.check_paintings(len(styles))
        placed = (each if isinstance(each, dict) else each.to(device) for each in styles)
        objective = PerceptualObjective(config, self.transformer, network, *placed)
        self._objective: Callable[..., Tensor] = objective.to(device)
        self._eager = self._objective
        #: Whether steps are compiled; the first one then takes a minute.
        self.compiled = compiling_pays(device, self._precision) if compiled is None else compiled
        if self.compiled:
            self._objective = torch.compile(self._objective)
        # Each group's share of the learning rate is kept in the group, and the rate itself is set every step.
        groups: dict[float, list[Parameter]] = {}
        for name, parameter in self._learning.items():
            groups.setdefault(_share(config, name), []).append(parameter)
        self._optimizer = torch.optim.Adam(
            [{"params": parameters, "share": share} for share, parameters in groups.items()], lr=config.learning_rate
        )
        self.photos = photo_stream(config, photos)
        self._inputs = Prefetcher(self._prepare, threads=threads)

    @property
    def done(self) -> bool:
        return self.step_number >= self.config.steps

    def wait(self, *, timeout_s: float) -> bool:
        """Wait up to `timeout_s` and return whether the photos of the next step are ready."""
        return self._inputs.wait(self.step_number, timeout_s=timeout_s)

    def step(self) -> StepLosses:
        """Run one step of Adam and return its losses.

        Raises TrainingDivergedError if they are not finite; the state is then useless.
        """
        started = perf_counter()
        rate = self.config.learning_rate_at(self.step_number)
        for group in self._optimizer.param_groups:
            group["lr"] = group["share"] * rate
        inputs = self._on_device(*self._inputs.take(self.step_number))
        with on_device(self.device):
            terms = self._differentiated(*inputs)
            self._optimizer.step()
        self.step_number += 1
        losses = StepLosses(
            step=self.step_number,
            **dict(zip(TERMS, terms.tolist(), strict=True)),
            learning_rate=rate,
            seconds=perf_counter() - started,
        )
        if not isfinite(losses.total):
            named = ", ".join(f"{name} {getattr(losses, name):g}" for name in TERMS)
            raise TrainingDivergedError(
                f"The losses of step {losses.step} are not finite ({named}). "
                "A lower learning rate or lower weights may help."
            )
        return losses

    def _on_device(
        self,
        photos: Tensor,
        noise: Tensor | None,
        shift: Tensor | None,
        styles: Tensor | None,
        grain: Tensor | None,
    ) -> tuple[Any, ...]:
        """Return the arguments of the objective, on the device."""
        painted = None if styles is None else int((styles < self.config.paintings).sum())

        def placed(image: Tensor | None) -> Tensor | None:
            return None if image is None else image.to(self.device, memory_format=torch.channels_last)

        small = (None if each is None else each.to(self.device) for each in (shift, styles))
        return (placed(photos), placed(noise), *small, painted, placed(grain))

    def _differentiated(self, *inputs: Any) -> Tensor:
        """Return the terms of the objective, with their gradients in the parameters.

        If the first step cannot be compiled, as with a compiler that is broken, this and all others are not compiled.
        """
        if self.compiled and not self._has_compiled:
            try:
                terms = self._backward(*inputs)
            except RuntimeError as error:  # the compiler's own errors are of many classes, all RuntimeErrors
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                _log.warning("the training is not compiled, and slower: %s", str(error).partition("\n")[0][:300])
                self._objective, self.compiled = self._eager, False
            else:
                self._has_compiled = True
                return terms
        return self._backward(*inputs)

    def _backward(self, *inputs: Any) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        with native.integers(self._precision == "int16"):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"):
                terms = self._objective(*inputs)
            torch.autograd.backward(terms.sum())
        return terms

    def _prepare(self, step: int) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        config, photos = self.config, self.photos.batch(step)
        drawn = sparse_noise(config, step), grid_shift(config, step), drawn_styles(config, step)
        return photos, *drawn, input_grain(config, step)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors of the state by name. They are not copies, and change with the next step."""
        tensors = {f"transformer.{name}": tensor for name, tensor in self.transformer.state_dict().items()}
        for name, parameter in self._learning.items():
            for moment, tensor in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{moment}"] = tensor
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a `state`; raise WeightsError, with nothing changed, if they do not fit."""
        self._check(tensors)
        prefix = "transformer."
        self.transformer.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        )
        self._optimizer.state.clear()
        for name, parameter in self._learning.items():
            if f"optimizer.{name}.step" not in tensors:
                continue
            step, *moments = (tensors[f"optimizer.{name}.{moment}"] for moment in _MOMENTS)
            # In the parameter's memory format, as Adam makes them.
            own = [torch.empty_like(parameter, requires_grad=False).copy_(moment) for moment in moments]
            self._optimizer.state[parameter] = dict(zip(_MOMENTS, [step.clone(), *own], strict=True))

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        expected = {f"transformer.{name}": value.shape for name, value in self.transformer.state_dict().items()}
        if any(name.startswith("optimizer.") for name in tensors):  # there are no moments before the first step
            for name, parameter in self._learning.items():
                shapes = (torch.Size(), parameter.shape, parameter.shape)
                expected |= {f"optimizer.{name}.{m}": shape for m, shape in zip(_MOMENTS, shapes, strict=True)}
        if expected.keys() != tensors.keys():
            odd = min(expected.keys() ^ tensors.keys())
            raise WeightsError(f"The state has {'no' if odd in expected else 'an unknown'} tensor {odd}.")
        for name, shape in expected.items():
            if tensors[name].shape != shape:
                raise WeightsError(
                    f"The state's tensor {name} has the shape {tuple(tensors[name].shape)}, not {tuple(shape)}."
                )

    def checkpoint(self) -> Checkpoint:
        """Return the full state. Its tensors are not copies, and change with the next step.

        Raises TrainingDivergedError if a tensor is not finite.
        """
        tensors = self.state()
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise TrainingDivergedError(
                    f"The weights are not finite after step {self.step_number} ({name}); the last checkpoint stays."
                )
        return Checkpoint(
            step=self.step_number,
            config=self.config,
            origin=self.origin,
            extensions=self.extensions,
            tensors=tensors,
        )

    def resume(self, checkpoint: Checkpoint, *, name: str = "The checkpoint", extend: bool = False) -> None:
        """Continue from a checkpoint; `name` begins error messages.

        With `extend` this trainer's config may have more steps than the checkpoint's; if the learning rate depends
        on the number of steps, it continues as if there had been so many from the start. Raises WeightsError for a
        checkpoint of another config or network.
        """
        differences = self.config.differences(checkpoint.config)
        differences.pop("palette", None)  # it plays no part in the steps
        more = self.config.steps > checkpoint.config.steps
        if differences and not (extend and more and set(differences) == {"steps"}):
            named = "; ".join(f"{name} {difference}" for name, difference in differences.items())
            hint = " A training can be extended to more steps." if more and set(differences) == {"steps"} else ""
            raise WeightsError(f"{name} was made with another training config: {named}.{hint}")
        try:
            self.restore(checkpoint.tensors)
        except WeightsError as error:
            raise WeightsError(f"{name} cannot be used. {error.message}") from error
        self.step_number = checkpoint.step
        self.extensions = checkpoint.extensions
        if differences:
            self.extensions += ((checkpoint.step, checkpoint.config.steps),)

    def save(self, path: Path) -> None:
        """Write the full state to `path`, whole or not at all.

        Raises WeightsError if it cannot be written, and TrainingDivergedError if a tensor is not finite; the
        last checkpoint stays as it is then.
        """
        write_checkpoint(self.checkpoint(), path)

    def load(self, path: Path, *, extend: bool = False) -> Checkpoint:
        """Continue from a state that `save` wrote, as `resume` does, and return it.

        Raises WeightsError for a damaged or foreign file and for one of another config.
        """
        checkpoint = read_checkpoint(path)
        self.resume(checkpoint, name=f"The checkpoint {path}", extend=extend)
        return checkpoint

    def close(self) -> None:
        """Stop the threads that read photos ahead."""
        self._inputs.close()


def photo_stream(config: TrainConfig, photos: PhotoSource) -> PhotoStream:
    """Return the photos of a training, step by step."""
    return PhotoStream(
        photos,
        size_px=config.size_px,
        batch_size=config.batch_size,
        seed=config.seed,
        zoom=config.zoom,
        crops_per_photo=config.crops_per_photo,
    )


def compiling_pays(device: torch.device, precision: TrainingPrecision) -> bool:
    """Return whether torch.compile makes trainings faster: on a CPU, `nets.native` is faster without bfloat16."""
    return precision == "bf16" or device.type != "cpu" or native.library() is None


def _learning(config: TrainConfig, transformer: TransformerNet) -> Iterator[tuple[str, Parameter]]:
    """Yield the parameters that learn, by name; the others get no gradient from now on."""
    norms = config.transformer.norm_tensors()
    for name, parameter in transformer.named_parameters():
        learns = config.trained == "all" or name in norms
        parameter.requires_grad_(learns)
        if learns:
            yield name, parameter


def _share(config: TrainConfig, name: str) -> float:
    """Return the share of the learning rate for a parameter."""
    if name in config.transformer.norm_tensors():
        return config.norm_learning_rate
    return config.head_learning_rate if name.startswith("head.") else 1.0


def _transformer(config: TrainConfig, initial: TransformerNet | None) -> TransformerNet:
    # The weights must depend on the seed alone, and the caller's random numbers not on them.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        transformer = TransformerNet(config.transformer)
    if initial is not None:
        if not config.transformer.single.takes_weights_of(initial.config.single):
            raise ConfigError(
                f"The initial weights are those of another network: {initial.config.to_dict()}, "
                f"not {config.transformer.to_dict()}."
            )
        if config.transformer.identity and not (config.identity_weight or initial.config.identity):
            raise ConfigError("The initial network has no identity, and the training would not make one.")
        transformer.load_state_dict(beginning(initial, config.transformer).state_dict())
    return transformer
