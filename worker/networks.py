"""Loss networks: those of optimisations stay loaded."""

from collections import OrderedDict
from threading import Lock

from nst_core.gatys.config import GatysConfig
from nst_core.loss_network import LossNetwork, load_loss_network
from nst_core.training.config import TrainConfig

#: Held while random weights are made: torch has one generator for all threads, and those that are to follow from a
#: seed must not be mixed with others.
RANDOM_WEIGHTS = Lock()
#: Held while torch compiles, or forgets what it has compiled.
COMPILING = Lock()
_Key = tuple[str, tuple[str, ...], str, float]


class LossNetworks:
    """Loads the loss network that a config needs, and keeps those used last."""

    def __init__(self, *, kept: int = 2) -> None:
        """Keep up to so many; one has about 60 MB."""
        self._kept = kept
        self._lock = Lock()
        self._networks: OrderedDict[_Key, LossNetwork] = OrderedDict()

    def get(self, config: GatysConfig) -> LossNetwork | None:
        """Return the network of a config, or None where it needs none; raise WeightsError where it has no weights.

        Where two threads ask at once, one loads and the other waits: its network is most often the same.
        """
        if not config.layers:
            return None
        key = (config.network, config.layers, config.pooling, config.feature_scale)
        with self._lock:
            if key not in self._networks:
                with RANDOM_WEIGHTS:
                    self._networks[key] = load_loss_network(
                        config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale
                    )
            self._networks.move_to_end(key)
            while len(self._networks) > self._kept:
                self._networks.popitem(last=False)
            return self._networks[key]


def load_network_of(config: TrainConfig) -> LossNetwork:
    """Return the loss network of a training, a new one; raise WeightsError where it has no weights."""
    with RANDOM_WEIGHTS:
        return load_loss_network(config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale)
