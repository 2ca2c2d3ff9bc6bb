"""The config of an optimisation: losses, start, iterations and sizes. Never loads torch."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from nst_core.errors import ConfigError
from nst_core.nets.vgg_layers import BLOCKS, check_layer

Optimizer = Literal["lbfgs", "adam"]
Initial = Literal["content", "style", "noise", "file"]
Color = Literal["style", "luminance", "linear"]

#: The loss networks that a request may name; a program may use any classifier of torchvision. A worker downloads the
#: files that are not bundled, of up to 550 MB each.
SERVED_NETWORKS = (
    "vgg16",
    "vgg16_caffe",
    "vgg16_torchvision",
    "vgg19",
    "vgg19_caffe",
    "resnet18",
    "resnet34",
    "resnet50",
    "squeezenet1_1",
    "mobilenet_v2",
    "googlenet",
    "densenet121",
)
#: The terms with weights per layer of the loss network.
LAYER_TERMS = ("content", "gram", "histogram", "moments", "sliced", "mrf")
#: Those of them that compare the picture with a style.
STYLE_TERMS = ("gram", "histogram", "moments", "sliced", "mrf")
#: Those of them that need the features of the whole picture at once. Their weights are what `balance` makes relative to
#: the Gram term.
MAP_TERMS = ("histogram", "moments", "sliced", "mrf")
#: The smallest side for networks other than VGG: after five halvings, one position.
OTHER_MIN_SIDE_PX = 32

#: Whole numbers and their ranges.
_WHOLE = {
    "sliced_iterations": (1, 1_000_000),
    "mrf_stride": (1, 64),
    "history": (1, 1000),
    "iterations": (1, 1_000_000),
    "coarse_iterations": (1, 1_000_000),
    "size_px": (1, 100_000),
    "scales": (1, 16),
    "style_size_px": (1, 100_000),
    "seed": (0, 2**63 - 1),
}
#: Other numbers: a check, and the range for the error message.
_REAL: dict[str, tuple[Callable[[float], bool], str]] = {
    "feature_scale": (lambda value: 0 < value <= 1e6, "above 0 and at most 1,000,000"),
    "tv_weight": (lambda value: 0 <= value <= 1e30, "at least 0"),
    "learning_rate": (
        lambda value: 0 < value <= 1,
        "above 0 and at most 1, since pixels are 0 to 1 (divide what is meant for 0 to 255 by 255)",
    ),
    "average_decay": (lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    "scale_ratio": (lambda value: 1 < value <= 16, "above 1 and at most 16"),
    "style_scale": (lambda value: 0 < value <= 16, "above 0 and at most 16"),
}
#: Those that may be None.
_OPTIONAL = ("coarse_iterations", "size_px", "style_size_px", "learning_rate")


@dataclass(frozen=True, kw_only=True)
class GatysConfig:
    """Everything that decides the result of an optimisation, except the pictures.

    The loss is the sum of all terms, each a loss of `nst_core.losses` times its weight; a weight of 0 leaves a term
    out. A wrong value raises ConfigError, which names the field.
    """

    #: A loss network of `load_loss_network`: vgg16 (bundled), vgg16_torchvision, vgg19, vgg19_caffe, resnet18, ...
    network: str = "vgg16"
    pooling: Literal["max", "average"] = "max"
    #: Factor of all features. With 1/57.4, weights published for torchvision's networks apply to Caffe's.
    feature_scale: float = 1.0
    #: Weights by layer of the content term, mean (F - F_content)^2.
    content: Mapping[str, float] = field(default_factory=lambda: {"relu4_2": 1.0})
    #: Weights by layer of the style term on Gram matrices.
    gram: Mapping[str, float] = field(default_factory=dict)
    gram_normalization: Literal["gatys", "hw", "chw", "relative"] = "hw"
    #: Weights by layer of the style terms on histograms, on mean and covariance, on projections, and on 3 x 3 patches.
    histogram: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, float] = field(default_factory=dict)
    sliced: Mapping[str, float] = field(default_factory=dict)
    mrf: Mapping[str, float] = field(default_factory=dict)
    #: Iterations with the same directions of projection. L-BFGS takes one more evaluation whenever they change.
    sliced_iterations: int = 20
    #: Positions from one patch to the next; 2 takes a sixteenth of the time of 1.
    mrf_stride: int = 1
    #: Weights by pool_px of the Laplacian term.
    laplacian: Mapping[int, float] = field(default_factory=dict)
    tv_weight: float = 0.0
    tv_kind: Literal["l1", "squared"] = "squared"
    #: If true, the weights of histogram, moments, sliced and mrf are lengths, not factors: the length of the layer's
    #: gradient at the start of a scale, as a fraction of the length of the Gram term's (after Risser et al. 2017).
    balance: bool = False
    optimizer: Optimizer = "lbfgs"
    #: Adam: about how far a pixel moves per iteration, in 0 to 1; None means 0.02. L-BFGS: the first step to try,
    #: as a fraction of the quasi-Newton step; None means 1.
    learning_rate: float | None = None
    #: Pairs of steps and gradients that L-BFGS keeps; each takes 24 bytes per pixel. A picture that is too large for
    #: the memory has fewer (see `costs.plan`).
    history: int = 20
    #: The result is an average of iterates with this decay; 0 means the last one. Adam only.
    average_decay: float = 0.0
    #: Iterations at the last scale.
    iterations: int = 500
    #: Iterations at each earlier scale; None means as many as at the last one.
    coarse_iterations: int | None = None
    #: Longest side at the last scale; None means that of the content picture.
    size_px: int | None = 512
    #: The number of sizes from coarse to fine, each `scale_ratio` times the previous one. Sizes that are too small for
    #: the network are skipped.
    scales: int = 1
    scale_ratio: float = 2.0
    #: Longest side of the style pictures at the last scale, and in proportion at earlier ones; None: `style_scale`
    #: times the longest side of the result.
    style_size_px: int | None = None
    style_scale: float = 1.0
    #: The start. "style" is the first style, stretched to the size; "file" is a picture from the caller.
    initial: Initial = "content"
    #: "style": the colours come from the style. "luminance": only the luminance is transferred. "linear": the style is
    #: first recoloured to the mean and covariance of the content's colours.
    color: Color = "style"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            choices = get_args(hint)
            if choices and all(isinstance(choice, str) for choice in choices):
                self._check_choice(name, choices)
        self._check_numbers()
        for name in LAYER_TERMS:
            object.__setattr__(self, name, self._weights(name))
        self._check_layers()
        pools = {self._pool_px(key): weight for key, weight in self._weights("laplacian").items()}
        object.__setattr__(self, "laplacian", pools)
        self._check_together()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the loss network that are needed, each once."""
        used = {layer: None for name in LAYER_TERMS for layer, weight in self.active(name).items()}
        return tuple(used)

    @property
    def uses_style(self) -> bool:
        """Whether a term compares with a style."""
        return any(self.active(term) for term in STYLE_TERMS)

    @property
    def min_side_px(self) -> int:
        """The shortest side for which the deepest layer has a position."""
        if self.network.partition("_")[0] not in BLOCKS:
            return OTHER_MIN_SIDE_PX
        # There is a pooling between two blocks, and poolB is itself the pooling that ends block B.
        halvings = [int(layer[4]) - (not layer.startswith("pool")) for layer in self.layers]
        return 1 << max(halvings, default=0)

    def active(self, term: str) -> dict[Any, float]:
        """Return the weights of a term that are not 0, by layer, or by pool_px for "laplacian"."""
        return {key: weight for key, weight in getattr(self, term).items() if weight}

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values."""
        values = asdict(self)
        values["laplacian"] = {str(key): weight for key, weight in self.laplacian.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GatysConfig":
        """Build a config from `to_dict` values; raise ConfigError for an unknown field or a wrong value."""
        check_names(values)
        return cls(**values)

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.", field=name)

    def _check_numbers(self) -> None:
        if not isinstance(self.network, str) or not self.network:
            raise ConfigError(f"network must be the name of a loss network, not {self.network!r}.", field="network")
        if not isinstance(self.balance, bool):
            raise ConfigError(f"balance must be true or false, not {self.balance!r}.", field="balance")
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            if not whole and not (value is None and name in _OPTIONAL):
                raise ConfigError(f"{name} must be a whole number from {low} to {high:,}, not {value!r}.", field=name)
        for name, (fits, range_) in _REAL.items():
            value = getattr(self, name)
            if not (_is_number(value) and fits(value)) and not (value is None and name in _OPTIONAL):
                raise ConfigError(f"{name} must be {range_}, not {value!r}.", field=name)
            if value is not None:
                object.__setattr__(self, name, float(value))

    def _weights(self, name: str) -> dict[Any, float]:
        weights = getattr(self, name)
        if not isinstance(weights, Mapping):
            raise ConfigError(f"{name} must be weights by name, not {weights!r}.", field=name)
        for key, weight in weights.items():
            if not _is_number(weight) or not 0 <= weight <= 1e30:
                raise ConfigError(f"{name}[{key!r}] must be a weight of at least 0, not {weight!r}.", field=name)
        # Sorted, so that equal configs sum in the same order and have the same fingerprint.
        return {key: float(weights[key]) for key in sorted(weights, key=str)}

    def _check_layers(self) -> None:
        for name in LAYER_TERMS:
            for layer in getattr(self, name):
                check_layer(self.network, layer, field=name)

    def _pool_px(self, key: Any) -> int:
        # Keys of JSON objects are strings.
        if isinstance(key, str) and key.isdecimal():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool) or not 1 <= key <= 1024:
            raise ConfigError(
                f"laplacian must have poolings from 1 to 1024 pixels as keys, not {key!r}.", field="laplacian"
            )
        return key

    def _check_together(self) -> None:
        if not self.layers and not self.tv_weight and not self.active("laplacian"):
            raise ConfigError(
                "content, gram, histogram, moments, sliced, mrf, laplacian and tv_weight leave nothing to optimise."
            )
        if self.balance and not self.active("gram"):
            raise ConfigError("balance is relative to the Gram term: gram must have a weight above 0.", field="balance")
        if self.average_decay and self.optimizer != "adam":
            raise ConfigError(
                "average_decay is for the optimizer adam; the iterates of lbfgs do not oscillate.",
                field="average_decay",
            )


def check_names(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a name is not the name of a field."""
    unknown = set(values) - {item.name for item in fields(GatysConfig)}
    if unknown:
        names = sorted(map(str, unknown))
        field = names[0] if len(names) == 1 else None
        raise ConfigError(f"Unknown fields of an optimisation: {', '.join(names)}.", field=field)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
