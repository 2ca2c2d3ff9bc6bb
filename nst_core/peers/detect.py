"""Which network a file holds: read any known container of tensors, then tell by the tensors' names."""

from dataclasses import dataclass

from nst_core.errors import WeightsError
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer_bytes
from nst_core.nets.weights_header import CONFIG_KEY
from nst_core.peers import gordicaleksa, lengstrom, pytorch_examples
from nst_core.peers.containers import is_safetensors, read_container
from nst_core.peers.strangers import TORCH_HINT
from nst_core.peers.unwrap import State, find_state

_PEERS = (gordicaleksa, pytorch_examples, lengstrom)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network that was read from a file, and the project whose format that is."""

    net: TransformerNet
    origin: str


def identify(data: bytes, *, name: str = "The file") -> Imported:
    """Return the network of a checkpoint's bytes, and where its format comes from.

    The network is one of ours, float32 on the CPU, in eval mode. It computes what the original does, brought to the
    unit range and cropped to the photo's size. `name` begins error messages. Raises WeightsError if the bytes are no
    checkpoint, are damaged, or hold another network.
    """
    if is_safetensors(data) and CONFIG_KEY.encode() in data[: 8 + int.from_bytes(data[:8], "little")]:
        return Imported(net=load_transformer_bytes(data, name=name), origin="nst")
    content = read_container(data, name=name)
    state = find_state(content, _is_known)
    if state is None and content:
        raise WeightsError(f"{name} holds no state dict of tensors: {TORCH_HINT}.")
    for peer in _PEERS:
        if state is not None and peer.knows(state):
            return Imported(net=peer.convert(state, name=name), origin=peer.ORIGIN)
    known = " nor of ".join(peer.ORIGIN for peer in _PEERS)
    if state is None:
        raise WeightsError(f"{name} holds no tensors, and no network of nst nor of {known}.")
    first = ", ".join(ascii(key)[1:-1][:60] for key in sorted(state)[:3])
    raise WeightsError(f"{name} holds tensors ({first} …), but no network of nst nor of {known}.")


def _is_known(state: State) -> bool:
    return any(peer.knows(state) for peer in _PEERS)
