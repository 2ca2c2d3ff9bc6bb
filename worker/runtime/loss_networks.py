"""The loss networks of optimisations, which stay loaded, and of trainings."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from threading import Lock

from nst_core.errors import ConfigError
from nst_core.gatys.config import SERVED_NETWORKS, GatysConfig
from nst_core.nets.loss_network import LossNetwork, Pooling, load_trained, random_loss_network
from nst_core.training.config import TrainConfig

#: Held while random weights are made: torch has one generator for all threads, and weights that follow from a seed
#: must not be mixed with others.
RANDOM_WEIGHTS = Lock()
#: Held while torch compiles or drops compiled code.
COMPILING = Lock()
_Key = tuple[str, tuple[str, ...], Pooling, float]
#: Seconds between two calls of `on_bytes` while another thread loads the network.
_POLL_S = 1.0


class LossNetworks:
    """Loads the loss network that a config needs, and keeps the networks used last."""

    def __init__(self, *, kept: int = 2) -> None:
        """Keep up to `kept` networks; one takes about 60 MB."""
        self._kept = kept
        self._lock = Lock()
        self._networks: OrderedDict[_Key, Future[LossNetwork]] = OrderedDict()

    def get(self, config: GatysConfig, *, on_bytes: Callable[[], object] = lambda: None) -> LossNetwork | None:
        """Return the loss network for a config, or None if it needs none.

        Raises WeightsError if its weights are missing.

        If two threads ask for the same network at once, one loads it and the other waits; other networks do not wait.
        `on_bytes` is called repeatedly meanwhile and may raise. Raises ConfigError for a network that requests may not
        name.
        """
        if not config.layers:
            return None
        if config.network not in SERVED_NETWORKS:
            known = ", ".join(SERVED_NETWORKS)
            raise ConfigError(f"network must be one of {known}, not {config.network!r}.")
        key = (config.network, config.layers, config.pooling, config.feature_scale)
        while True:
            with self._lock:
                future = self._networks.get(key)
                missing = future is None
                if future is None:
                    future = self._networks[key] = Future()
                self._networks.move_to_end(key)
                while len(self._networks) > self._kept:
                    self._networks.popitem(last=False)
            if missing:
                return self._load(key, future, on_bytes)
            if (network := _awaited(future, on_bytes)) is not None:
                return network

    def _load(self, key: _Key, future: Future[LossNetwork], on_bytes: Callable[[], object]) -> LossNetwork:
        try:
            network = _trained(*key, on_bytes=on_bytes)
        except BaseException:
            with self._lock:
                if self._networks.get(key) is future:
                    del self._networks[key]
            # Threads that wait try it themselves: perhaps only this thread was interrupted.
            future.cancel()
            raise
        future.set_result(network)
        return network


def load_network_of(config: TrainConfig, *, on_bytes: Callable[[], object] = lambda: None) -> LossNetwork:
    """Return a new loss network for a training, as `LossNetworks.get` does."""
    if config.network not in SERVED_NETWORKS:
        raise ConfigError(f"network must be one of {', '.join(SERVED_NETWORKS)}, not {config.network!r}.")
    return _trained(config.network, tuple(config.layers), config.pooling, config.feature_scale, on_bytes=on_bytes)


def _trained(
    name: str, layers: tuple[str, ...], pooling: Pooling, scale: float, *, on_bytes: Callable[[], object]
) -> LossNetwork:
    with RANDOM_WEIGHTS:
        network = random_loss_network(layers, name=name, pooling=pooling)
    # Not under the lock: it may take minutes.
    load_trained(network, scale=scale, on_bytes=on_bytes)
    return network


def _awaited(future: Future[LossNetwork], on_bytes: Callable[[], object]) -> LossNetwork | None:
    """Return the network that another thread loads, or None if that failed."""
    while True:
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            on_bytes()
        except CancelledError:
            return None
