"""A training in a folder of its own, which may be interrupted at any moment and continues from its last checkpoint.

The folder has `checkpoint.safetensors` (the full state), `losses.csv` (a line a step) and `losses.png`, `photos.json`
(how many photos there are and which were skipped), samples as `NAME_STEP.jpg`, and `style.safetensors` at the end. With
several styles, samples are `NAME_STYLE_STEP.jpg`, where STYLE is the painting's name or `identity`.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.families import one_style
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer_bytes, save_transformer
from nst_core.styles import IDENTITY, PLOT_NAME, WEIGHTS_NAME, version_of
from nst_core.system.devices import TrainingPrecision
from nst_core.system.whole_files import write_whole
from nst_core.training.checkpoint import CHECKPOINT_NAME
from nst_core.training.config import TrainConfig
from nst_core.training.curve import CURVE_NAME, LossCurve, read_losses
from nst_core.training.guesses import guess_for
from nst_core.training.palettes import finished
from nst_core.training.pictures import load_sample, load_style, read_file, save_sample, stylized
from nst_core.training.plot import plot_losses
from nst_core.training.sources import PhotoSource
from nst_core.training.step_losses import StepLosses
from nst_core.training.trainer import Trainer

log = logging.getLogger(__name__)

PHOTOS_NAME = "photos.json"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What to train, in which folder, and what to write during the training."""

    folder: Path
    config: TrainConfig
    #: The style pictures: one, or one for each style of the network but the identity.
    paintings: tuple[Path, ...]
    #: The weights file to begin with, instead of random weights.
    initial: Path | None = None
    #: The style of that file to begin with; None for all its styles. One painting begins as a guess, or
    #: as the mean of them.
    initial_style: int | None = None
    #: Photos to stylize at intervals.
    samples: tuple[Path, ...] = ()
    #: Steps between checkpoints.
    checkpoint_every: int = 50
    #: Steps between samples, and between pictures of the losses.
    sample_every: int = 250
    #: Whether to draw the losses.
    plot: bool = True
    #: Whether a checkpoint of a training with fewer steps may be extended.
    extend: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "sample_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}.")
        stems = [path.stem for path in self.samples]
        if len(set(stems)) < len(stems):
            raise ConfigError(f"Samples must have different names, but two of {', '.join(stems)} are the same.")
        if self.initial_style is not None and self.initial is None:
            raise ConfigError("initial_style chooses a style of the initial weights, but there are none.")
        self.config.check_paintings(len(self.paintings))

    @property
    def style_names(self) -> list[str]:
        """A name for each style of the network, for files: the painting's, with its number if another has it too."""
        stems = [path.stem for path in self.paintings] + [IDENTITY] * self.config.transformer.identity
        return [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems)]


class TrainingRun:
    """The training of a plan, which continues from the last checkpoint if there is one."""

    def __init__(
        self,
        plan: RunPlan,
        *,
        photos: PhotoSource,
        device: torch.device,
        precision: TrainingPrecision | None = None,
        compiled: bool | None = None,
        threads: int = 1,
    ) -> None:
        """Load everything that the plan names; see `Trainer` for the options.

        Raises ConfigError, ImageError or WeightsError if a file cannot be used, or if the checkpoint is of
        another config, style picture or initial weights.
        """
        self.plan = plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        sizes = zip(plan.paintings, plan.config.style_sizes_px, strict=True)
        self._styles = styles = [load_style(path, size_px=size) for path, size in sizes]
        self._samples = {path.stem: load_sample(path) for path in plan.samples}
        initial, initial_sha256 = _load_initial(plan)
        self._initial = initial
        # A checkpoint has weights of its own.
        guess = None if (plan.folder / CHECKPOINT_NAME).exists() else guess_for(initial, plan.config)
        if guess is not None:
            initial = guess(styles[0])
        network = _load_loss_network(plan.config)
        self.trainer = Trainer(
            plan.config,
            network=network,
            style=styles,
            photos=photos,
            device=device,
            initial=initial,
            precision=precision,
            compiled=compiled,
            threads=threads,
        )
        digests = [version_of(read_file(path)) for path in plan.paintings]
        self.trainer.origin = {
            "style_sha256": digests if len(digests) > 1 else digests[0],
            "initial_sha256": initial_sha256,
            "predictor_sha256": None if guess is None else guess.sha256,
            "photos": self.trainer.photos.describe(),
        }
        self._skipped_before: dict[str, str] = {}
        self._resume()
        if warning := self.trainer.photos.warning:
            log.warning("%s", warning)

    @property
    def done(self) -> bool:
        return self.trainer.done

    def run(
        self,
        *,
        on_step: Callable[[StepLosses], None] = lambda losses: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the last step and write the style's weights.

        `on_step` is called after each step, then `stop`; once that returns True, a checkpoint is written and the
        training ends. Raises TrainingDivergedError if the losses are not finite.
        """
        plan, trainer = self.plan, self.trainer
        curve = LossCurve(plan.folder / CURVE_NAME, step=trainer.step_number)
        try:
            while not trainer.done:
                losses = trainer.step()
                curve.append(losses)
                on_step(losses)
                stopped = stop()
                if losses.step % plan.checkpoint_every == 0 or trainer.done or stopped:
                    curve.flush()  # first: a checkpoint without its losses could not be told from a whole one
                    trainer.save(plan.folder / CHECKPOINT_NAME)
                    self._report_photos()
                if losses.step % plan.sample_every == 0 or trainer.done:
                    curve.flush()
                    self._show()
                if stopped and not trainer.done:
                    return
        finally:
            curve.flush()
        save_transformer(self._finished(), plan.folder / WEIGHTS_NAME)
        self._report_photos()  # of those that palettes were made with, too

    def _finished(self) -> TransformerNet:
        """Return the trained network, with the palettes that its config asks for."""
        trainer = self.trainer
        return finished(
            trainer.transformer,
            self.plan.config,
            paintings=self._styles,
            photos=trainer.photos,
            initial=self._initial,
        )

    def close(self) -> None:
        """Stop the threads of the training."""
        self.trainer.close()

    def _resume(self) -> None:
        path = self.plan.folder / CHECKPOINT_NAME
        if not path.exists():
            return
        ours = self.trainer.origin
        theirs = self.trainer.load(path, extend=self.plan.extend).origin
        if theirs.get("style_sha256") != ours["style_sha256"]:
            raise WeightsError(f"The checkpoint {path} was made with another style picture.")
        if self.plan.initial is not None and theirs.get("initial_sha256") != ours["initial_sha256"]:
            raise WeightsError(f"The checkpoint {path} did not begin with the weights {self.plan.initial}.")
        for name in ("initial_sha256", "predictor_sha256"):
            ours[name] = theirs.get(name)
        if theirs.get("photos") == ours["photos"]:
            self._skipped_before = read_skipped(self.plan.folder)
        else:
            log.warning("The photos are not those of the checkpoint %s; the training continues with others.", path)

    def _report_photos(self) -> None:
        photos = self.trainer.photos
        # Known from before or met again: nothing is skipped unread because a report says so.
        skipped = {**self._skipped_before, **photos.skipped}
        report = {**photos.describe(), "warning": photos.warning, "skipped": dict(sorted(skipped.items()))}
        write_whole(self.plan.folder / PHOTOS_NAME, (json.dumps(report, indent=2) + "\n").encode())

    def _show(self) -> None:
        """Stylize the samples with the weights of now, and draw the losses."""
        plan, trainer = self.plan, self.trainer
        family = trainer.transformer.config.styles > 1
        for index, style in enumerate(plan.style_names):
            net = one_style(trainer.transformer, index)
            for name, photo in self._samples.items():
                picture = stylized(net, photo)
                middle = f"_{style}" if family else ""
                save_sample(picture, plan.folder / f"{name}{middle}_{trainer.step_number:06d}.jpg")
        if plan.plot:
            title = f"{plan.folder.name}: weighted losses"
            plot_losses(read_losses(plan.folder / CURVE_NAME), plan.folder / PLOT_NAME, title=title)


def read_skipped(folder: Path) -> dict[str, str]:
    """Return which photos a run has skipped so far, and why; nothing if it has no report."""
    try:
        report: dict[str, Any] = json.loads((folder / PHOTOS_NAME).read_bytes())
        return dict(report["skipped"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _load_initial(plan: RunPlan) -> tuple[TransformerNet | None, str | None]:
    if plan.initial is None:
        return None, None
    data = read_file(plan.initial)
    net = load_transformer_bytes(data, name=str(plan.initial), style=plan.initial_style)
    if plan.config.paintings not in (1, net.config.paintings) and net.config.paintings > 1:
        raise ConfigError(
            f"{plan.initial} has {net.config.styles} styles, and this training {plan.config.transformer.styles}: "
            "choose one of its styles (initial_style) to begin with."
        )
    return net, version_of(data, plan.initial_style or 0)


def _load_loss_network(config: TrainConfig) -> LossNetwork:
    return load_loss_network(config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale)
