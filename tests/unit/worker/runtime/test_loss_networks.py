"""Tests of worker.runtime.loss_networks."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import pytest

from nst_core.errors import ConfigError, WeightsError
from nst_core.gatys.config import GatysConfig
from nst_core.training.config import TrainConfig
from tests.unit.worker.kit import TINY, WAIT_S
from worker.runtime.loss_networks import LossNetworks, load_network_of
from worker.runtime.outcomes import InterruptedWorkError


def test_loss_networks_are_loaded_once_and_the_least_recently_used_is_evicted() -> None:
    networks = LossNetworks(kept=2)
    first, average = networks.get(TINY), networks.get(replace(TINY, pooling="average"))
    assert first is not None
    assert networks.get(replace(TINY, iterations=3, size_px=20)) is first
    assert networks.get(replace(TINY, feature_scale=0.5)) not in (first, average)
    assert networks.get(TINY) is first
    assert networks.get(replace(TINY, pooling="average")) is not average
    assert networks.get(GatysConfig(content={}, tv_weight=1.0)) is None


def test_a_network_that_requests_may_not_name_is_not_downloaded() -> None:
    with pytest.raises(ConfigError, match="network must be one of vgg16, "):
        LossNetworks().get(GatysConfig(network="regnet_y_128gf", content={"trunk_output": 1.0}))
    with pytest.raises(ConfigError, match="network must be one of vgg16, "):
        load_network_of(TrainConfig(network="vit_h_14", content_layer="ln", style_weights={"ln": 1.0}))


def test_a_download_of_one_network_delays_no_other_and_reports_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enough = Event()

    class Slow(BaseHTTPRequestHandler):
        """Sends a file byte by byte until the test has finished its checks."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not enough.is_set():
                self.wfile.write(b"x")
                time.sleep(0.01)

        def log_message(self, *_: object) -> None: ...

    networks, alive = LossNetworks(), Event()
    vgg19 = replace(TINY, network="vgg19")
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server, ThreadPoolExecutor(3) as threads:
        threads.submit(server.serve_forever)
        monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("nst_core.nets.loss_weights._PIECE_BYTES", 1)
        slow = threads.submit(networks.get, vgg19, on_bytes=alive.set)
        assert alive.wait(WAIT_S)
        assert networks.get(TINY) is not None  # while the other one is downloaded

        def interrupted() -> None:
            raise InterruptedWorkError

        with pytest.raises(InterruptedWorkError):
            networks.get(vgg19, on_bytes=interrupted)  # a task that waits for it can stop waiting
        enough.set()
        with pytest.raises(WeightsError, match="wrong checksum"):
            slow.result(WAIT_S)
        server.shutdown()
    assert list((tmp_path / "hub" / "checkpoints").iterdir()) == []
