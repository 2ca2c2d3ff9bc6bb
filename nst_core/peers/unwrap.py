"""The state dict of a network inside of what training programs save around it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

#: Keys under which programs keep the network, the usual ones first. Of several, the first one with a network counts.
_USUAL = (
    "state_dict",
    "model_state_dict",
    "network_state_dict",
    "net_state_dict",
    "transformer_state_dict",
    "model",
    "net",
    "network",
    "transformer",
    "transformer_net",
    "generator",
    "weights",
    "params",
    "module",
    "ema",
)
#: Parts of names that torch's wrappers add: DataParallel and DDP, torch.compile, FSDP, checkpointing of activations.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
#: A hostile file may hold itself, or any number of mappings; more states than this are not looked at.
_MAX_STATES = 200

State = dict[str, Tensor]


def find_state(content: Mapping[str, Any], is_known: Callable[[State], bool]) -> State | None:
    """Return the tensors of the network in a checkpoint, under plain names.

    The first state dict that `is_known` holds for is taken; if there is none, the only one, or the outermost, is
    returned, so that a message can say what it lacks. None if there are no tensors at all.
    """
    found = list(_state_dicts(content))
    plain = [state for each in found for state in _plain_names(each)]
    return next((state for state in plain if is_known(state)), plain[0] if plain else None)


def _state_dicts(content: Mapping[str, Any]) -> list[State]:
    """Return the tensors of each mapping in a checkpoint, the outermost first."""
    found: list[State] = []
    queue: list[Mapping[Any, Any]] = [content]
    seen = {id(content)}
    for mapping in queue:
        named = {key: value for key, value in mapping.items() if isinstance(key, str)}
        tensors = {key: value for key, value in named.items() if _is_usable(value)}
        if tensors:
            found.append(tensors)
        for key in (*(key for key in _USUAL if key in named), *(key for key in named if key not in _USUAL)):
            value = named[key]
            # A hostile file may hold itself, or any number of mappings.
            if isinstance(value, Mapping) and id(value) not in seen and len(queue) < _MAX_STATES:
                seen.add(id(value))
                queue.append(value)
    return found


def _plain_names(state: State) -> list[State]:
    """Return tensors without what wrappers add to their names, and without the name of an attribute around them all."""
    if all(key.endswith(":0") for key in state):  # TensorFlow's outputs
        state = {key.removesuffix(":0"): value for key, value in state.items()}
    plain = {_without_wrappers(key): value for key, value in state.items()}
    if len(plain) != len(state):  # two tensors under one name: not what a wrapper does
        return [state]
    found = [plain]
    # Such as net.conv1…, perhaps beside the loss network of a module that holds both, and that in another module.
    for outer in found:
        if len(found) < _MAX_STATES:
            found += _groups(outer)
    return found[:_MAX_STATES]


def _groups(state: State) -> list[State]:
    """Return the tensors of each attribute, without its name."""
    groups: dict[str, State] = {}
    for key, value in state.items():
        first, dot, rest = key.partition(".")
        if dot and "." in rest:
            groups.setdefault(first, {})[rest] = value
    return list(groups.values())


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS) or key


def _is_usable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
