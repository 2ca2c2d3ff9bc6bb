"""The config of a training, which is validated when it is made. Never loads torch."""

from dataclasses import asdict, dataclass, field, fields, replace
from math import cos, isfinite, pi
from typing import Any, Literal, get_args

from nst_core.errors import ConfigError
from nst_core.images import DEFAULT_MIN_SIDE_PX as MIN_SIDE_PX
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.vgg_layers import check_layer
from nst_core.training.scales import STROKES

# The same as `losses.gram.Normalization` and `losses.tv.Kind`, which a light module cannot import.
Normalization = Literal["gatys", "hw", "chw", "relative"]
TVKind = Literal["l1", "squared"]
Pooling = Literal["max", "average"]
Schedule = Literal["cosine", "constant", "step"]
Trained = Literal["all", "norms", "identity"]
DEFAULT_STYLE_WEIGHTS = {"relu1_2": 5.0, "relu2_2": 5.0, "relu3_3": 5.0, "relu4_3": 5.0}

_CHOICES: dict[str, tuple[str, ...]] = {
    "pooling": get_args(Pooling),
    "gram": get_args(Normalization),
    "tv_kind": get_args(TVKind),
    "schedule": get_args(Schedule),
    "trained": get_args(Trained),
}
_WHOLE = {
    "steps": (1, 100_000_000),
    "batch_size": (1, 1024),
    "size_px": (MIN_SIDE_PX, 4096),
    "crops_per_photo": (1, 1024),
    "style_size_px": (MIN_SIDE_PX, 16_384),
    "style_crops": (0, 10_000),
    "warmup_steps": (0, 100_000_000),
    "decay_every_steps": (1, 100_000_000),
    "seed": (0, 2**63 - 1),
}
_NUMBERS = {
    "zoom": (1.0, 16.0),
    "feature_scale": (1e-9, 1e9),
    "content_weight": (0.0, 1e30),
    "tv_weight": (0.0, 1e30),
    "stability_weight": (0.0, 1e30),
    "stability_fraction": (0.0, 1.0),
    "stability_sigma": (0.0, 100.0),
    "shift_weight": (0.0, 1e30),
    "grid_weight": (0.0, 1e30),
    "identity_weight": (0.0, 1e30),
    "learning_rate": (1e-12, 10.0),
    "head_learning_rate": (0.0, 100.0),
    "norm_learning_rate": (0.0, 100.0),
    "final_learning_rate": (0.0, 1.0),
    "palette": (0.0, 1.0),
    "decay_factor": (0.0, 1.0),
}
#: Fields with a number for each painting, and its range.
_BY_PAINTING = {"style_factors": (0.0, 1e30), "style_strokes": STROKES}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result of a training, except the pictures and the initial weights.

    Raises ConfigError for a value that is not allowed.
    """

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    #: What learns: "all"; "norms": the weights and biases of normalisations alone, a style for given convolutions;
    #: "identity": those of the identity alone, so that a network which has none gets one, and keeps its pictures.
    trained: Trained = "all"
    #: Above 0, the last style of a network with several is the identity: the photo itself. This is the weight of the
    #: mean squared difference from the photo, for pixels in 0 to 1; it counts as content. With 0, an identity that the
    #: network has does not learn.
    identity_weight: float = 0.0
    steps: int = 2000
    #: Crops per step.
    batch_size: int = 4
    #: Side of the square training crops.
    size_px: int = 256
    #: A crop is cut from its photo resized to a short side of `size_px` to `zoom * size_px`. This differs from the
    #: paper, which resizes whole photos to the square; with crops, fewer photos are enough.
    zoom: float = 1.6
    #: Consecutive crops from each photo; an epoch has this many crops of each photo.
    crops_per_photo: int = 1
    #: Longest side of the style picture, as Johnson's `style_image_size`: the strokes of the result grow with it.
    style_size_px: int = 512
    #: The Gram matrices of the style are those of the whole picture if this is 0; otherwise means over so many
    #: random crops of it, with a side of `size_px`, or of the picture's shorter side if that is less.
    style_crops: int = 0
    #: The loss network, its pooling and a factor for its features, as `load_loss_network` knows them.
    network: str = "vgg16"
    pooling: Pooling = "max"
    feature_scale: float = 1.0
    #: relu3_3 in Johnson's program; relu2_2 in the paper.
    content_layer: str = "relu3_3"
    content_weight: float = 1.0
    #: Weight of each style layer. Their size depends on `gram` and on the loss network.
    style_weights: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_STYLE_WEIGHTS))
    #: Factor of all style weights for each painting of a network with several styles; none for 1 each.
    style_factors: tuple[float, ...] = ()
    #: Factor of `style_size_px`, and so of the strokes, for each of these paintings; none for 1 each.
    style_strokes: tuple[float, ...] = ()
    #: How Gram matrices are normalised: over C H W as in the paper, over H W, as Gatys et al. do, or by the painting's.
    gram: Normalization = "chw"
    tv_weight: float = 0.0
    tv_kind: TVKind = "squared"
    #: Weight of the mean squared difference, for pixels in 0 to 1, between the outputs for a photo with noise and
    #: without; above 0 it makes the style of video frames flicker less and takes one more forward pass a step.
    stability_weight: float = 0.0
    #: Share of the values that get noise.
    stability_fraction: float = 0.2
    #: Deviation of the noise, on pixels that are normalised as the loss network's input is; about 0.08 of 0 to 1.
    stability_sigma: float = 0.35
    #: Weight of the mean squared difference, for pixels in 0 to 1, between the output for a photo that was moved by 1
    #: to 3 px and the output that was moved as far; above 0 it keeps the style from marks that are fixed to the grid of
    #: pixels, and takes one more forward pass of one photo a step.
    shift_weight: float = 0.0
    #: Weight of the mean squared pattern of 4 x 4 pixels that repeats over the whole picture, for pixels in 0 to 1; it
    #: keeps the style from such marks too, at no cost. See `losses.grid`.
    grid_weight: float = 0.0
    learning_rate: float = 1e-3
    #: How the learning rate changes after the warm-up: "cosine" down to `final_learning_rate` at the last step,
    #: "constant" as in the paper, or "step", which multiplies by `decay_factor` every `decay_every_steps`.
    schedule: Schedule = "cosine"
    #: Steps over which the learning rate rises from nothing.
    warmup_steps: int = 50
    #: Learning rate at the last step of the cosine, as a fraction of the full one.
    final_learning_rate: float = 0.05
    decay_every_steps: int = 1000
    decay_factor: float = 0.5
    #: Fraction of the learning rate for the head. One step of Adam moves all its 81 taps x 32 channels together:
    #: on the unit range that is 255 times the step that the papers' networks take on 0 to 255.
    head_learning_rate: float = 0.1
    #: Factor of the learning rate for the weights and biases of normalisations, which are some 25 times as large as
    #: those of convolutions. Where they are all that tells styles apart, they should learn faster.
    norm_learning_rate: float = 1.0
    #: How far the palette that the style gets at the end brings the colours of pictures to the painting's: 1 all the
    #: way, 0 for none. See `training.palettes`.
    palette: float = 0.0
    #: Determines the initial weights, the order, crops and styles of the photos, the crops of the style, the noise and
    #: the shifts.
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.", field=name
                )
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{name} must be a whole number from {low:,} to {high:,}, not {value!r}.", field=name)
        for name, (least, most) in _NUMBERS.items():
            _check_number(name, getattr(self, name), least, most)
        for name in ("network", "content_layer"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ConfigError(f"{name} must be a name, not {getattr(self, name)!r}.", field=name)
        if not isinstance(self.style_weights, dict) or not self.style_weights:
            raise ConfigError(
                f"style_weights must give the weight of at least one layer, not {self.style_weights!r}.",
                field="style_weights",
            )
        for layer, weight in self.style_weights.items():
            _check_number(f"style_weights[{layer!r}]", weight, 0.0, 1e30)
            check_layer(self.network, layer, field="style_weights")
        check_layer(self.network, self.content_layer, field="content_layer")
        self._check_styles()

    def _check_styles(self) -> None:
        if self.transformer.palette:
            message = "Leave transformer.palette out: the field palette says whether the style gets one at the end."
            raise ConfigError(message, field="transformer")
        if self.trained != "all" and self.transformer.norm != "instance":
            raise ConfigError("Only a network with the norm instance can be trained in its norms.", field="trained")
        if self.trained == "identity" and not self.identity_weight:
            raise ConfigError("The identity learns only if it has a weight (identity_weight).", field="identity_weight")
        if self.identity_weight:
            if self.transformer.styles == 1:
                raise ConfigError("identity_weight needs a network with several styles.", field="identity_weight")
            object.__setattr__(self, "transformer", replace(self.transformer, identity=True))
        elif self.transformer.identity and self.trained == "all":
            message = "The identity of a network must have a weight (identity_weight) if its convolutions learn."
            raise ConfigError(message, field="identity_weight")
        for name, (least, most) in _BY_PAINTING.items():
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) not in (0, self.paintings):
                raise ConfigError(
                    f"{name} must have a number for each of {self.paintings} paintings, not {values!r}.", field=name
                )
            for index, value in enumerate(values):
                _check_number(f"{name}[{index}]", value, least, most)

    @property
    def paintings(self) -> int:
        """The number of style pictures."""
        return self.transformer.paintings

    @property
    def style_sizes_px(self) -> list[int]:
        """The longest side of each style picture in pixels."""
        return [round(stroke * self.style_size_px) for stroke in self.style_strokes or (1.0,) * self.paintings]

    def check_paintings(self, count: int) -> None:
        """Raise ConfigError for another number of style pictures."""
        if count != self.paintings:
            raise ConfigError(f"The number of paintings must be {self.paintings}, not {count}.")

    def of_painting(self, index: int) -> "TrainConfig":
        """Return the config for one painting alone, with a network of one style."""
        factor = self.style_factors[index] if self.style_factors else 1.0
        return replace(
            self,
            transformer=self.transformer.single,
            trained="norms" if self.trained == "identity" else self.trained,
            identity_weight=0.0,
            style_weights={layer: factor * weight for layer, weight in self.style_weights.items()},
            style_factors=(),
            style_size_px=self.style_sizes_px[index],
            style_strokes=(),
        )

    @property
    def layers(self) -> list[str]:
        """The layers of the loss network that are needed, by name."""
        return sorted({self.content_layer, *self.style_weights})

    def with_strength(self, strength: float) -> "TrainConfig":
        """Return the config with all style weights multiplied."""
        return replace(self, style_weights={layer: weight * strength for layer, weight in self.style_weights.items()})

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, 2, ..., including the warm-up."""
        if self.schedule == "cosine":
            low = self.final_learning_rate
            share = low + (1 - low) * (1 + cos(pi * step / self.steps)) / 2
        elif self.schedule == "step":
            share = self.decay_factor ** (step // self.decay_every_steps)
        else:
            share = 1.0
        return self.learning_rate * share * min(1.0, (step + 1) / max(1, self.warmup_steps))

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values."""
        lists = {name: list(getattr(self, name)) for name in _BY_PAINTING}
        return {**asdict(self), "transformer": self.transformer.to_dict(), **lists}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Build a config from `to_dict` values; missing fields have their defaults.

        Raises ConfigError for an unknown field or a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"A training config must be an object with fields and values, not {values!r}.")
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            field = next(iter(unknown)) if len(unknown) == 1 else None
            raise ConfigError(f"Unknown training config fields: {', '.join(sorted(unknown))}.", field=field)
        transformer = values.get("transformer", {})
        if not isinstance(transformer, dict):
            raise ConfigError(f"transformer must be fields and values, not {transformer!r}.", field="transformer")
        try:
            network = TransformerConfig.from_dict(transformer)
        except ConfigError as error:
            raise ConfigError(error.message, field="transformer") from error
        tuples = {name: tuple(values[name]) for name in _BY_PAINTING if isinstance(values.get(name), list)}
        return cls(**{**values, **tuples, "transformer": network})

    def differences(self, other: "TrainConfig") -> dict[str, str]:
        """Return the fields in which the other config differs, each with a text "that one's value, not this one's"."""
        ours, theirs = _flat(asdict(self)), _flat(asdict(other))
        return {
            name: f"{theirs.get(name)!r}, not {ours.get(name)!r}"
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        }


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not isfinite(value) or not low <= value <= high:
        # The name of an entry, such as `style_weights['relu1_2']`, begins with that of its field.
        field = name.partition("[")[0]
        raise ConfigError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}.", field=field)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values under names like `transformer.width`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in _flat(value).items()}
        else:
            flat[name] = value
    return flat
