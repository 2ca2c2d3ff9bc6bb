"""Train a style from the command line, and make a style folder of it: `python -m nst_core train -h`, `ship -h`.

The run folder holds the checkpoint, the loss curve and sample pictures; started again, the training goes on from it.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nst_core.loss_network import load_loss_network
from nst_core.photos import PhotoStream, list_photos
from nst_core.ship import ship
from nst_core.styles import WEIGHTS_NAME
from nst_core.stylize import resolve_device
from nst_core.tensors import load_picture, save_picture
from nst_core.train import StepLosses, TrainConfig, Trainer
from nst_core.transformer import TransformerConfig
from nst_core.weights import save_transformer


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m nst_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a style, or go on with its training")
    train.add_argument("--painting", type=Path, required=True, help="the style picture")
    train.add_argument("--photos", type=Path, required=True, help="a folder of training photos")
    train.add_argument("--run", type=Path, required=True, help="the folder of this training")
    train.add_argument("--samples", type=Path, nargs="*", default=[], help="photos to stylize at intervals")
    train.add_argument("--config", type=json.loads, default={}, help="TrainConfig fields as JSON")
    train.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints")
    train.add_argument("--sample-every", type=int, default=250, help="steps between samples")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    shipping = commands.add_parser("ship", help="make a style folder of a finished training")
    shipping.add_argument("--run", type=Path, required=True, help="the folder of the training")
    shipping.add_argument("--to", type=Path, required=True, help="the folder of the style")
    shipping.add_argument("--about", type=json.loads, required=True, help="title, artist, year, rights, data as JSON")
    shipping.add_argument("--sample", type=Path, required=True, help="a photo for the style's picture")
    args = parser.parse_args(argv)
    if args.command == "ship":
        ship(args.run, args.to, about=args.about, sample=args.sample)
    else:
        train_style(args)


def train_style(args: argparse.Namespace) -> None:
    """Train to the last step and write the network."""
    args.run.mkdir(parents=True, exist_ok=True)
    trainer = build_trainer(args)
    try:
        run(trainer, args)
    finally:
        trainer.close()
    save_transformer(trainer.transformer, args.run / WEIGHTS_NAME)


def build_trainer(args: argparse.Namespace) -> Trainer:
    """Return a trainer for the parsed command line, at its last checkpoint if there is one."""
    options = dict(args.config)
    transformer = TransformerConfig.from_dict(options.pop("transformer", {}))
    config = replace(TrainConfig(), transformer=transformer, **options)
    style = load_picture(args.painting, long_side_px=config.style_size_px)
    photos = PhotoStream(
        list_photos(args.photos), size_px=config.size_px, batch_size=config.batch_size, seed=config.seed
    )
    network = load_loss_network(sorted({config.content_layer, *config.style_weights}))
    trainer = Trainer(config, network=network, style=style, photos=photos, device=resolve_device(args.device))
    if (args.run / "checkpoint.pt").exists():
        trainer.load(args.run / "checkpoint.pt")
    return trainer


def run(trainer: Trainer, args: argparse.Namespace) -> None:
    """Train to the last step with checkpoints, samples and a line of losses every step."""
    with open(args.run / "losses.csv", "a", newline="") as file:
        curve = csv.writer(file)
        while not trainer.done:
            started = time.perf_counter()
            losses = trainer.step()
            seconds = time.perf_counter() - started
            curve.writerow([losses.step, losses.content, losses.style, losses.tv])
            if losses.step % 10 == 0:
                print(describe(losses, seconds), flush=True)
            if losses.step % args.checkpoint_every == 0 or trainer.done:
                file.flush()
                trainer.save(args.run / "checkpoint.pt")
            if losses.step % args.sample_every == 0 or trainer.done:
                sample(trainer, args, losses.step)


def describe(losses: StepLosses, seconds: float) -> str:
    """Return one line about a step."""
    parts = (f"{name} {getattr(losses, name):.4g}" for name in ("content", "style", "tv"))
    return f"step {losses.step}  {'  '.join(parts)}  {seconds:.2f} s"


def sample(trainer: Trainer, args: argparse.Namespace, step: int) -> None:
    """Stylize the sample photos with the weights of now."""
    trainer.transformer.eval()
    for path in args.samples:
        photo = load_picture(path).to(trainer.device)
        with torch.inference_mode():
            save_picture(trainer.transformer(photo), args.run / f"{path.stem}_{step:06d}.jpg")
    trainer.transformer.train()


if __name__ == "__main__":
    main()
