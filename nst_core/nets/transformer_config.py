"""The config of a transformer network, and the tensors that it determines. Never loads torch."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from nst_core.errors import ConfigError, WeightsError

_CHOICES = {
    "norm": ("instance", "batch"),
    "upsample": ("nearest", "transposed"),
    "padding": ("reflect", "zero", "same"),
    "output": ("linear", "tanh"),
    "crop": ("layers", "end", "start"),
}
#: The most styles of a network: their own numbers then take about as much memory as three networks.
MAX_STYLES = 1000
#: The strongest noise, in grey levels.
MAX_GRAIN = 64.0
#: Nodes of a palette for each of R, G, B, and the levels from one to the next: 0, 32 and so on up to 256.
PALETTE_NODES, PALETTE_STEP = 9, 32
#: The name of the tensor of palettes, and the numbers of each one.
PALETTE, PALETTE_NUMBERS = "palette", 3 * PALETTE_NODES**3
#: What is said of networks that `TransformerConfig.blends_with` refuses.
NOT_BLENDED = "Only styles whose networks are of the same kind, with the norm instance, can be blended."


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The architecture of a transformer network; it is stored in the header of the weights file."""

    #: Channels after the first convolution; the next two layers double it, then double it again.
    width: int = 32
    #: Residual blocks at a quarter of the resolution.
    blocks: int = 5
    norm: Literal["instance", "batch"] = "instance"
    upsample: Literal["nearest", "transposed"] = "nearest"
    #: "zero" pads both sides alike; "same" pads with zeros as TensorFlow's SAME does, where strides make it uneven.
    padding: Literal["reflect", "zero", "same"] = "reflect"
    output: Literal["linear", "tanh"] = "linear"
    #: Added to the variance in every normalisation.
    norm_eps: float = 1e-5
    #: Whether a normalisation follows the last convolution too, which has no bias then.
    head_norm: bool = False
    #: How sides that are no multiples of 4 keep their length: "layers" crops each upsampled layer to its counterpart
    #: in the encoder; "end" and "start" double twice and drop the last or the first rows and columns of the output.
    crop: Literal["layers", "end", "start"] = "layers"
    #: Styles that share all convolutions. Each has its own weight and bias in every instance normalisation.
    styles: int = 1
    #: Whether the last of several styles leaves photos as they are: a blend of another one with it paints less.
    identity: bool = False
    #: Deviation, in grey levels of 255, of the soft noise that photos get before the network; see `nets.grain`.
    grain: float = 0.0
    #: Whether each style has a palette, which brings the colours of finished pictures to those of its painting; see
    #: `nets.palettes`. It is made after the last step of a training, and plays no part in the steps.
    palette: bool = False

    def __post_init__(self) -> None:
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                raise ConfigError(f"{field} must be one of {', '.join(allowed)}, not {getattr(self, field)!r}.")
        for field, low, high in (("width", 1, 512), ("blocks", 0, 64), ("styles", 1, MAX_STYLES)):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{field} must be a whole number from {low} to {high}, not {value!r}.")
        if not isinstance(self.grain, int | float) or not 0 <= self.grain <= MAX_GRAIN:
            raise ConfigError(f"grain must be a number from 0 to {MAX_GRAIN:g}, not {self.grain!r}.")
        if not isinstance(self.norm_eps, float) or not 0 < self.norm_eps <= 1:
            raise ConfigError(f"norm_eps must be a number above 0 and up to 1, not {self.norm_eps!r}.")
        for field in ("head_norm", "identity", "palette"):
            if not isinstance(getattr(self, field), bool):
                raise ConfigError(f"{field} must be true or false, not {getattr(self, field)!r}.")
        if self.styles > 1 and self.norm != "instance":
            raise ConfigError(f"A network with several styles must have the norm instance, not {self.norm}.")
        if self.identity and self.styles == 1:
            raise ConfigError("A network with the identity must have another style too.")

    @property
    def newcomer(self) -> "TransformerConfig":
        """The config of the training of a new style of the family: its identity is the second style."""
        return replace(self, styles=1 + self.identity, palette=False)

    @property
    def paintings(self) -> int:
        """The number of styles without the identity."""
        return self.styles - self.identity

    def check_style(self, index: int, *, name: str) -> None:
        """Raise WeightsError if there is no style of an index; `name` begins the message."""
        if not 0 <= index < self.styles:
            count = "one style" if self.styles == 1 else f"{self.styles} styles"
            raise WeightsError(f"{name} is a network of {count}, and has no style {index}.")

    def fades(self, style: int) -> bool:
        """Return whether the network can paint a style less, by a blend of it with the identity."""
        return self.identity and style < self.paintings

    def weaker(self, style: int, share: float, *, name: str) -> int | dict[int, float]:
        """Return the blend of a style's share, 0 to 1, with the identity; 1 is the style itself.

        Raises WeightsError if the network cannot paint the style less; `name` begins the message.
        """
        if share == 1.0:
            return style
        if not self.fades(style):
            raise WeightsError(f"{name} has no identity, so that it cannot paint its style {style} less.")
        return {style: share, self.paintings: 1 - share}

    @property
    def single(self) -> "TransformerConfig":
        """The config of the network of one of the styles."""
        return replace(self, styles=1, identity=False)

    def blends_with(self, other: "TransformerConfig") -> bool:
        """Return whether styles of two networks can be blended: means of batch norms are not those of the blend."""
        return self.norm == "instance" and self.single.takes_weights_of(other.single)

    def takes_weights_of(self, other: "TransformerConfig") -> bool:
        """Return whether a training of this network can begin with weights of the other one.

        Any grain will do, since a network learns to use it in some steps, and palettes do not learn.
        """
        return replace(other, grain=self.grain, palette=self.palette) == self

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values.

        One style, no identity, no grain and no palette are left out: a style's version is the hash of its file, and
        files from before these fields do not have them.
        """
        later = {"styles": 1, "identity": False, "grain": 0, "palette": False}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TransformerConfig":
        """Build a config from `to_dict` values; raise ConfigError for an unknown field or a wrong value."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"Unknown transformer config fields: {', '.join(sorted(unknown))}.")
        return cls(**values)

    def layers(self) -> list[tuple[str, str]]:
        """Return the names of each convolution and of the normalisation after it, in forward order, except the head.

        The head is `head`, and `head_norm` if there is one.
        """
        down = [(f"down{number}.conv", f"down{number}.norm") for number in (1, 2, 3)]
        residual = [
            (f"residuals.{block}.conv{number}", f"residuals.{block}.norm{number}")
            for block in range(self.blocks)
            for number in (1, 2)
        ]
        return [*down, *residual, ("up1.conv", "up1.norm"), ("up2.conv", "up2.norm")]

    def style_tensors(self) -> list[str]:
        """Return the names of the tensors that each style has for itself: those of normalisations, and its palette."""
        return self.norm_tensors() + [PALETTE] * self.palette

    def norm_tensors(self) -> list[str]:
        """Return the names of the weight and the bias of every normalisation."""
        norms = [norm for _, norm in self.layers()] + ["head_norm"] * self.head_norm
        return [f"{norm}.{part}" for norm in norms for part in ("weight", "bias")]

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor of the network's state, by its name."""
        w = self.width
        channels = [3, w, 2 * w, *[4 * w] * (1 + 2 * self.blocks), 2 * w, w, 3]
        layers = [*self.layers(), ("head", "head_norm")]
        shapes: dict[str, tuple[int, ...]] = {}
        styles = (self.styles,) if self.styles > 1 else ()
        for (conv, norm), c_in, c_out in zip(layers, channels[:-1], channels[1:], strict=True):
            kernel = 9 if conv in ("down1.conv", "head") else 3
            turned = self.upsample == "transposed" and conv in ("up1.conv", "up2.conv")
            shapes[f"{conv}.weight"] = (*((c_in, c_out) if turned else (c_out, c_in)), kernel, kernel)
            if conv == "head" and not self.head_norm:
                shapes["head.bias"] = (c_out,)
                continue
            shapes |= {f"{norm}.{name}": (*styles, c_out) for name in ("weight", "bias")}
            if self.norm == "batch":
                shapes |= {f"{norm}.{name}": (c_out,) for name in ("running_mean", "running_var")}
                shapes[f"{norm}.num_batches_tracked"] = ()
        if self.palette:
            shapes[PALETTE] = (*styles, PALETTE_NUMBERS)
        return shapes
