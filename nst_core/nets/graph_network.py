"""Features of any classifier of torchvision at the nodes of its graph. Only this module needs torchvision."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, fx, nn

from nst_core.errors import ConfigError
from nst_core.extras import install_command
from nst_core.nets.loss_weights import VGG_SOURCES, WeightsSource

#: Options without which a model does not accept the common input, or warns when it is built.
OPTIONS: dict[str, dict[str, bool]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}


class GraphFeatures(nn.Module):
    """Features of a torchvision classifier at nodes of its graph, as `get_graph_node_names` of torchvision names them.

    Input: N x 3 x H x W, normalised. Output: the features by node name. A module's name stands for its last node.
    Parts that no named node needs are left out, with their weights. No operation is in place, so that the features of
    every node stay as they were computed.
    """

    def __init__(self, name: str, layers: Sequence[str]) -> None:
        """Build with random weights; raise ConfigError for an unknown model or node, or without torchvision."""
        super().__init__()
        models, feature_extraction = _torchvision(name)
        names = models.list_models(module=models)
        if name not in names:
            raise ConfigError(
                f"There is no loss network {name!r}{_suggestion(name, list(dict.fromkeys([*VGG_SOURCES, *names])))}."
            )
        model = models.get_model(name, weights=None, **OPTIONS.get(name, {})).eval()
        try:
            dual = feature_extraction.create_feature_extractor(model, list(layers), suppress_diff_warning=True)
        except ValueError as error:
            nodes = feature_extraction.get_graph_node_names(model, suppress_diff_warning=True)[1]
            known = list(dict.fromkeys(prefix for node in nodes for prefix in _prefixes(node)))
            hints = [f"{layer!r}{_suggestion(layer, known)}" for layer in layers if layer not in known]
            fault = f"has no layer {'; '.join(hints)}" if hints else f"cannot give these layers: {error}"
            raise ConfigError(f"The loss network {name} {fault}.") from error
        self.extractor = _out_of_place(dual)
        self.source = _source(models, name)
        self.scale = 1.0

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.extractor(image)
        return features if self.scale == 1 else {name: self.scale * x for name, x in features.items()}

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors that a file must have, by name, without the batch counters, which old files lack."""
        state = self.extractor.state_dict()
        return {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}

    def scale_features(self, factor: float) -> None:
        """Multiply all features by a positive factor."""
        self.scale *= factor


def _torchvision(name: str) -> tuple[Any, Any]:
    try:
        from torchvision import models  # type: ignore[import-untyped]
        from torchvision.models import feature_extraction  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            f"The loss network {name!r} is not one of {', '.join(VGG_SOURCES)}, and others need torchvision; "
            f"{install_command('classifiers')} installs it."
        ) from error
    return models, feature_extraction


def _prefixes(node: str) -> list[str]:
    """Return the names of the modules around a node, from the outside in, and the node: layer1, layer1.0, ..."""
    parts = node.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, cutoff=0.5)
    return f" (near: {', '.join(near)})" if near else f" (there are {known[0]} to {known[-1]})"


def _out_of_place(dual: Any) -> fx.GraphModule:
    """Return the graph for evaluation only, without in-place operations."""
    for node in dual.eval_graph.nodes:
        if node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)
    extractor = fx.GraphModule(dual, dual.eval_graph)
    for module in extractor.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return extractor


def _source(models: Any, name: str) -> WeightsSource:
    default = models.get_model_weights(name).DEFAULT
    official = default.url.rpartition("/")[2]
    transforms = default.transforms()
    return WeightsSource(
        network=name,
        files=(official, f"{name}.safetensors", f"{name}.pth"),
        official=official,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
