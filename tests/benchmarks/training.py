"""`python -m tests.benchmarks.training --photos FOLDER --painting FILE`: steps per second against a plain loop.

The plain loop is what programs like pytorch/examples' fast_neural_style do: float32, one operation after the other,
torch's default memory format, `nn.InstanceNorm2d`, `nn.ReflectionPad2d`, `F.interpolate`, photos read in between. It
trains the same network from the same first weights on the same photos for the same losses (Johnson's), so that the
losses at the end must be equal up to the rounding of bfloat16. The two take turns, so that both meet the same machine.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.transformer import TransformerNet
from nst_core.system.memory import keep_freed_memory
from nst_core.training.config import TrainConfig
from nst_core.training.photos import PhotoStream
from nst_core.training.pictures import load_style
from nst_core.training.sources import FolderPhotos
from nst_core.training.trainer import Trainer
from tests.benchmarks.machine import describe
from tests.benchmarks.plain_net import PlainNet

#: Places of relu1_2, relu2_2, relu3_3 and relu4_3 among torchvision's layers.
_TAPS = {3: "relu1_2", 8: "relu2_2", 15: "relu3_3", 22: "relu4_3"}
TURN = 5


class PlainTraining:
    """The plain loop, step by step."""

    def __init__(self, config: TrainConfig, style: Tensor, photos: PhotoStream, net: TransformerNet) -> None:
        self.config = config
        self.photos = photos
        self.net = PlainNet()
        self.net.take(net)
        vgg = torchvision.models.vgg16(weights=None).features[:23]
        loss_network = load_loss_network(["relu4_3"])
        vgg.load_state_dict({k.removeprefix("features."): v for k, v in loss_network.body.weights().items()})
        self.vgg = vgg.requires_grad_(False).eval()
        self.mean, self.std = loss_network.mean, loss_network.std
        with torch.no_grad():
            self.grams = {layer: self.gram(value) for layer, value in self.features(style).items()}
        head = {id(parameter) for parameter in self.net.head.parameters()}
        groups = [
            {"params": [p for p in self.net.parameters() if id(p) not in head], "share": 1.0},
            {"params": list(self.net.head.parameters()), "share": config.head_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, config.learning_rate)
        self.step_number = 0

    def features(self, image: Tensor) -> dict[str, Tensor]:
        x = (image - self.mean) / self.std
        found = {}
        for place, layer in enumerate(self.vgg):
            x = layer(x)
            if place in _TAPS:
                found[_TAPS[place]] = x
        return found

    @staticmethod
    def gram(value: Tensor) -> Tensor:
        n, c, h, w = value.shape
        rows = value.view(n, c, h * w)
        return rows.bmm(rows.transpose(1, 2)) / (c * h * w)

    def step(self) -> float:
        """Run one step and return its total loss."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * config.learning_rate_at(self.step_number)
        photos = self.photos.batch(self.step_number).contiguous()
        self.optimizer.zero_grad()
        output = self.features(self.net(photos))
        with torch.no_grad():
            target = self.features(photos)[config.content_layer]
        loss = config.content_weight * F.mse_loss(output[config.content_layer], target)
        for layer, weight in config.style_weights.items():
            loss = loss + weight * F.mse_loss(self.gram(output[layer]), self.grams[layer].expand(len(photos), -1, -1))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step_number += 1
        return float(loss.detach())


def timed(step: Callable[[], float]) -> tuple[float, float]:
    """Return the loss of a step, and how many seconds it took."""
    started = time.perf_counter()
    return step(), time.perf_counter() - started


def main() -> None:
    """Parse the command line and let the two take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    keep_freed_memory()
    print(describe())
    config = TrainConfig.from_dict({"transformer": {"output": "tanh"}, "steps": args.steps, "batch_size": args.batch})
    style = load_style(args.painting, size_px=config.style_size_px)
    photos = FolderPhotos(args.photos)
    trainer = Trainer(
        config, network=load_loss_network(config.layers), style=style, photos=photos, device=torch.device("cpu")
    )
    stream = PhotoStream(
        photos, size_px=config.size_px, batch_size=config.batch_size, seed=config.seed, zoom=config.zoom
    )
    plain = PlainTraining(config, style, stream, trainer.transformer)
    kinds = {"plain": plain.step, "nst": lambda: trainer.step().total}
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    while len(seen["nst"]) < args.steps:
        for kind, step in kinds.items():
            seen[kind] += [timed(step) for _ in range(min(TURN, args.steps - len(seen[kind])))]
    trainer.close()
    last = max(10, args.steps // 5)
    seconds = {kind: median(s for _, s in values[TURN:]) for kind, values in seen.items()}
    losses = {kind: fmean(v for v, _ in values[-last:]) for kind, values in seen.items()}
    for kind in kinds:
        print(f"{kind:<6} {1 / seconds[kind]:.3f} steps/s ({seconds[kind]:.2f} s), loss {losses[kind]:,.0f}")
    print(
        f"{seconds['plain'] / seconds['nst']:.2f} times the steps per second; mean loss of the last {last} steps "
        f"{losses['nst'] / losses['plain'] - 1:+.1%}; the first step took {seen['nst'][0][1]:.0f} s"
    )


if __name__ == "__main__":
    main()
