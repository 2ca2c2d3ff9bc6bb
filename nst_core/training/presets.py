"""Named presets of trainings. Never loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nst_core.errors import ConfigError
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.training.config import DEFAULT_STYLE_WEIGHTS, TrainConfig
from nst_core.training.scales import STRENGTHS, STROKES

#: A shipped style whose weights a training may begin with: it knows how to draw already, and learns another hand.
TEACHER = "great_wave"
#: The same for a style of a family: its convolutions are those of the family.
TEACHER_OF_FAMILY = "udnie"
#: The preset of requests that name none: for a network of its own, and for a style of a family.
DEFAULT, DEFAULT_OF_FAMILY = "standard", "norms"
#: In the place of a style to begin with: random weights.
NO_INITIAL = "none"
#: The presets for a style of a family.
OF_FAMILIES = (DEFAULT_OF_FAMILY, "instant")


@dataclass(frozen=True, kw_only=True)
class TrainPreset:
    """A training config and its initial weights."""

    name: str
    #: One sentence for people.
    summary: str
    config: TrainConfig
    #: A shipped style whose weights the training begins with, None for random ones.
    initial_style: str | None
    #: The family that a style joins if nobody names one.
    family: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A preset combined with the options of a client."""

    preset: str
    config: TrainConfig
    #: The style whose weights the training begins with; None for random ones, or those of the family.
    initial_style: str | None


#: Fields with a number for each of several paintings, and what does the same for one.
_OF_SEVERAL = {"style_factors": "strength", "style_strokes": "stroke"}

_SCHEDULE: dict[str, Any] = {"batch_size": 2, "learning_rate": 1e-3, "final_learning_rate": 0.01}
_TANH = {"output": "tanh"}
#: A style in strokes: with Johnson's weights the deep layers, which see large strokes, count for a thousandth of the
#: others, and a network learns the painting's colours and its weave. These are weights of relative distances.
_STROKES: dict[str, Any] = {
    "transformer": {**_TANH, "grain": 6.0},
    "style_size_px": 640,
    "gram": "relative",
    "style_weights": {
        "relu1_2": 180_000.0,
        "relu2_2": 1_300_000.0,
        "relu3_3": 750_000.0,
        "relu4_3": 125_000.0,
        "relu5_1": 100_000.0,
    },
    "palette": 1.0,
    # A weave of two grey levels costs 62,000, about half of what the usual distance to the painting does.
    "grid_weight": 1e9,
}

#: Each step is the same size for all numbers, and large: scale and shift are about 1.
_NORMS: dict[str, Any] = {
    "trained": "norms",
    "steps": 120,
    "batch_size": 2,
    "learning_rate": 0.02,
    "warmup_steps": 5,
}

_PRESETS = (
    TrainPreset(
        name="quick",
        summary="A usable style in some minutes: a network that knows another style learns this one.",
        config=TrainConfig.from_dict({**_SCHEDULE, **_STROKES, "steps": 500, "learning_rate": 1.5e-3}),
        initial_style=TEACHER,
    ),
    TrainPreset(
        name=DEFAULT,
        summary="A good style in about an hour on two cores, from a network that knows another one.",
        config=TrainConfig.from_dict({**_SCHEDULE, **_STROKES, "steps": 5000}),
        initial_style=TEACHER,
    ),
    TrainPreset(
        name=DEFAULT_OF_FAMILY,
        summary="A style in minutes: scale and shift alone learn, and all else stays that of a family.",
        config=TrainConfig.from_dict({**_STROKES, **_NORMS}),
        initial_style=TEACHER_OF_FAMILY,
    ),
    TrainPreset(
        name="instant",
        summary="A style in a minute: a network that has seen a hundred paintings guesses it, and 20 steps refine it.",
        config=TrainConfig.from_dict({**_STROKES, **_NORMS, "steps": 20}),
        initial_style=None,
        family="painters",
    ),
    TrainPreset(
        name="paper",
        summary="Johnson, Alahi, Fei-Fei (2016): weights 1 and 5, 40,000 steps of 4 photos, from random weights.",
        config=TrainConfig.from_dict(
            {"transformer": _TANH, "steps": 40_000, "batch_size": 4, "schedule": "constant", "zoom": 1.0}
        ),
        initial_style=None,
    ),
)


def presets() -> dict[str, TrainPreset]:
    """Return all presets by name."""
    return {preset.name: preset for preset in _PRESETS}


def resolve(
    preset: str | None = None,
    *,
    family: TransformerConfig | None = None,
    steps: int | None = None,
    stroke: float = 1.0,
    strength: float | None = None,
    seed: int = 0,
    initial: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Combine a preset, or the default one, with a client's options.

    `family` is the network that the style joins. `stroke` multiplies the size of the style picture, and so of the
    strokes; `strength` multiplies the weight of the style. `initial` is the style to begin with instead of the
    preset's, or "none". `options` are fields of TrainConfig that come before those of the preset; if `gram` is among
    them, the style weights are the default ones, unless they are given too. Raises ConfigError for what is unknown or
    out of range, or cannot give a style.
    """
    found = _find(preset or (DEFAULT if family is None else DEFAULT_OF_FAMILY), family=family)
    wishes = {"stroke": (stroke, STROKES), "strength": (1.0 if strength is None else strength, STRENGTHS)}
    for name, (value, (low, high)) in wishes.items():
        if not low <= value <= high:
            raise ConfigError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}.", field=name)
    config = changed(replace(found.config, seed=seed), options or {}, steps=steps)
    if config.paintings > 1:
        raise ConfigError("A run trains one style, so transformer.styles must be 1.", field="transformer")
    config = replace(config, style_size_px=round(config.style_size_px * stroke))
    if family is not None:
        check_member(config, found.config, initial=initial)
    return Recipe(
        preset=found.name,
        config=config if strength is None else config.with_strength(strength),
        initial_style=None if family is not None else _beginning(config, found, initial),
    )


def changed(config: TrainConfig, options: Mapping[str, Any], *, steps: int | None = None) -> TrainConfig:
    """Return a config with a client's options, which are fields of it; raise ConfigError for wrong ones.

    What they do not say of the network stays. Another `gram` brings the default style weights. Fields that tell several
    paintings apart would have no effect on one, or only on a part of the work, and are refused.
    """
    given = dict(options)
    for name, instead in _OF_SEVERAL.items():
        if given.get(name):
            message = f"{name} is for networks of several paintings: use {instead} for one."
            raise ConfigError(message, field=name)
    if isinstance(given.get("transformer"), dict):
        given["transformer"] = {**config.transformer.to_dict(), **given["transformer"]}
    if "gram" in given:  # weights have another size with another normalisation
        given.setdefault("style_weights", DEFAULT_STYLE_WEIGHTS)
    if steps is not None:
        given["steps"] = steps
    return TrainConfig.from_dict({**config.to_dict(), **given})


def check_member(config: TrainConfig, before: TrainConfig, *, initial: str | None = None) -> None:
    """Raise ConfigError unless a style with a config joins the family that it had `before` the options of a client."""
    if initial is not None:
        message = "A style of a family starts as a guess, or as the mean of all its styles: leave initial out."
        raise ConfigError(message, field="initial")
    if not config.transformer.takes_weights_of(before.transformer):
        raise ConfigError("A style of a family has the family's network: leave transformer out.", field="transformer")
    if config.trained != "norms":
        raise ConfigError("Of a style of a family nothing but the norms learns: leave trained out.", field="trained")


def _beginning(config: TrainConfig, preset: TrainPreset, initial: str | None) -> str | None:
    """Return the style that a training begins with, None for random weights; raise ConfigError if it needs one."""
    field = "trained" if initial is None else "initial"
    if config.trained == "identity" and initial in (None, NO_INITIAL):
        message = "If the identity alone learns, the pictures stay those of another style: say which one in initial."
        raise ConfigError(message, field=field)
    if initial is None:
        # Weights of another network would not fit; a network with the identity begins with those of one style.
        fits = config.transformer.single.takes_weights_of(preset.config.transformer.single)
        initial = preset.initial_style if fits else NO_INITIAL
    if initial not in (None, NO_INITIAL):
        return initial
    if config.trained != "all":
        message = "If the norms alone learn, the training must begin with the weights of a style: say which in initial."
        raise ConfigError(message, field=field)
    return None


def _find(name: str, *, family: TransformerConfig | None) -> TrainPreset:
    """Return a preset; that of a family has its network, with one painting."""
    found = presets().get(name)
    if found is None:
        raise ConfigError(f"The presets of training are {', '.join(presets())}, not {name!r}.", field="preset")
    if family is None and found.family is not None:
        raise ConfigError(f"The preset {name} is for a style of a family, such as {found.family}.", field="family")
    if family is None:
        return found
    if name not in OF_FAMILIES:
        message = f"A style of a family is trained with the preset {' or '.join(OF_FAMILIES)}, not {name}."
        raise ConfigError(message, field="preset")
    return replace(found, config=replace(found.config, transformer=family.newcomer), initial_style=None)
