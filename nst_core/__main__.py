"""Train styles without a queue: `python -m nst_core train -h`.

The run folder holds the checkpoint, the losses and sample pictures. Run the command again to continue the training.
Several paintings make one network with a style for each. `python -m nst_core join` adds styles to such a network.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from nst_core.decoding.decoder import decode
from nst_core.errors import ConfigError, NstError
from nst_core.images.picture import Limits
from nst_core.nets.families import joined
from nst_core.nets.style_predictor import StylePredictor, dump_predictor, load_predictor
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights import load_transformer, save_transformer
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families, shipped_styles
from nst_core.system.devices import resolve_device
from nst_core.system.memory import keep_freed_memory
from nst_core.system.whole_files import check_output, write_whole
from nst_core.training.cache import FileCache
from nst_core.training.config import TrainConfig
from nst_core.training.palettes import PHOTOS, with_fitted_palettes
from nst_core.training.pictures import load_style
from nst_core.training.predictor import LARGEST_PX, OWN_OPTIONS, PredictorLosses, train_predictor
from nst_core.training.presets import DEFAULT_OF_FAMILY, presets
from nst_core.training.run import RunPlan, TrainingRun
from nst_core.training.sources import FolderPhotos, PhotoSource
from nst_core.training.step_losses import StepLosses
from nst_core.training.stored_photos import StoredPhotos
from nst_core.training.trainer import photo_stream
from nst_core.upscaling.network import FACTORS, load_upscale_net, save_upscale_net
from nst_core.upscaling.training import UpscaleConfig, UpscaleLosses, train_upscaler


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for an error, 130 for an interrupt."""
    args = make_parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        return int(args.run_command(args))
    except NstError as error:
        print(f"error: {error.message}", file=sys.stderr)
    except OSError as error:  # such as a full disk
        print(f"error: {error}.", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m nst_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands.add_parser("train", help="train a style or several, or continue their training"))
    join = commands.add_parser("join", help="put styles with the same convolutions into one weights file")
    join.set_defaults(run_command=join_files)
    join.add_argument("weights", type=Path, nargs="+", help="weights files, whose styles keep their order")
    join.add_argument("-o", "--output", type=Path, required=True, help="the new weights file")
    _add_palettes(commands.add_parser("palettes", help="give styles palettes, or new ones"))
    _add_upscaler(commands.add_parser("upscaler", help="train the network that enlarges pictures"))
    _add_predictor(commands.add_parser("predictor", help="train the network that guesses styles of a family"))
    return parser


def _add_palettes(palettes: argparse.ArgumentParser) -> None:
    palettes.set_defaults(run_command=fit_palettes)
    palettes.add_argument("weights", type=Path, help="the weights file of a style, or of a network with several")
    palettes.add_argument("--painting", type=Path, nargs="+", required=True, help="the style picture of each style")
    palettes.add_argument("--photos", type=Path, required=True, help="a folder of photos, of which some are painted")
    palettes.add_argument("--share", type=share, default=1.0, help="how far colours go to the painting's, 0 to 1")
    palettes.add_argument("-o", "--output", type=Path, required=True, help="the new weights file")


def _add_upscaler(upscaler: argparse.ArgumentParser) -> None:
    upscaler.set_defaults(run_command=train_upscaling)
    upscaler.add_argument("--pictures", type=Path, required=True, help="a folder of large pictures, such as results")
    upscaler.add_argument("--factor", type=int, choices=FACTORS, required=True, help="how many times as long sides get")
    upscaler.add_argument("--steps", type=int, default=UpscaleConfig.steps, help="steps of four crops")
    upscaler.add_argument(
        "--feature-steps", type=int, default=UpscaleConfig.feature_steps, help="the last steps, with a feature loss"
    )
    upscaler.add_argument("--feature-weight", type=float, default=UpscaleConfig.feature_weight, help="its weight")
    upscaler.add_argument("--initial", type=Path, help="start with the weights of this file")
    upscaler.add_argument("-o", "--output", type=Path, required=True, help="the new weights file")


def _add_predictor(predictor: argparse.ArgumentParser) -> None:
    predictor.set_defaults(run_command=train_guesses)
    predictor.add_argument(
        "--family", choices=families(), default="painters", help="the family whose styles it guesses"
    )
    predictor.add_argument("--paintings", type=Path, required=True, help="a folder of paintings to learn from")
    predictor.add_argument("--photos", type=Path, required=True, help="a folder of training photos")
    predictor.add_argument("--steps", type=int, default=2500, help="steps of two photos and paintings")
    predictor.add_argument("--views", type=int, default=6, help="views of each painting, of 2.4 MB each")
    predictor.add_argument("--initial", type=Path, help="start with the weights of this file")
    predictor.add_argument("-o", "--output", type=Path, required=True, help="the new file, written every 100 steps")


def _add_train(train: argparse.ArgumentParser) -> None:
    train.set_defaults(run_command=train_styles)
    train.add_argument("--painting", type=Path, nargs="+", required=True, help="the style picture, or several")
    train.add_argument("--photos", required=True, help="a folder of training photos, or s3://bucket/prefix")
    train.add_argument("--run", type=Path, required=True, help="the folder of this training")
    train.add_argument("--samples", type=Path, nargs="*", default=[], help="photos to stylize at intervals")
    train.add_argument(
        "--preset", choices=presets(), help="begin with the config and the weights of a preset of queued trainings"
    )
    train.add_argument("--config", type=json_object, default={}, help="TrainConfig fields as JSON")
    train.add_argument("--strength", type=float, default=1.0, help="multiply the style weights by this")
    train.add_argument("--initial", type=Path, help="start with the network and the weights of this file")
    style = "start with this style of that file, from 0; default: all, or for one painting a guess or their mean"
    train.add_argument("--initial-style", type=int, help=style)
    train.add_argument("--extend", action="store_true", help="continue a checkpoint that was made for fewer steps")
    train.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints")
    train.add_argument("--sample-every", type=int, default=250, help="steps between samples and plots")
    train.add_argument("--plot", action=argparse.BooleanOptionalAction, default=True, help="plot losses.png")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    train.add_argument("--exact", action="store_true", help="float32 and not compiled: slower, but reproducible")
    train.add_argument("--threads", type=int, default=1, choices=range(1, 65), metavar="N", help="reader threads")
    train.add_argument("--cache", type=Path, help="cache folder for photos from S3; default: RUN/photos")
    train.add_argument("--cache-bytes", type=int, default=2 * 2**30, help="the size limit of the cache")


def share(text: str) -> float:
    """Return the number from 0 to 1 in an argument."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("not a number from 0 to 1")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in an argument."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def train_styles(args: argparse.Namespace) -> int:
    """Train to the last step or until a signal; return the exit code."""
    initial, initial_style = first_weights(args)
    plan = RunPlan(
        folder=args.run,
        config=make_config(
            args.config,
            initial,
            initial_style=initial_style,
            preset=args.preset,
            paintings=len(args.painting),
        ).with_strength(args.strength),
        paintings=tuple(args.painting),
        initial=initial,
        initial_style=initial_style,
        samples=tuple(args.samples),
        checkpoint_every=args.checkpoint_every,
        sample_every=args.sample_every,
        plot=args.plot,
        extend=args.extend,
    )
    run = TrainingRun(
        plan,
        photos=open_photos(args),
        device=resolve_device(args.device),
        precision="fp32" if args.exact else None,
        compiled=False if args.exact else None,
        threads=args.threads,
    )
    try:
        with stopped_by_signals() as stopped:
            run.run(on_step=print_step, stop=stopped.is_set)
    finally:
        run.close()
    return 0 if run.done else 130


def first_weights(args: argparse.Namespace) -> tuple[Path | None, int | None]:
    """Return the weights file that a training begins with, and the index of its style; (None, None): random weights.

    A preset has a shipped style or a family to begin with. A style fits unless the config asks for another kind of
    network.
    """
    if args.initial is not None or args.preset is None:
        return args.initial, args.initial_style
    if (family := presets()[args.preset].family) is not None:
        if len(args.painting) > 1:
            raise ConfigError(
                f"The preset {args.preset} trains one style, and there are {len(args.painting)} paintings."
            )
        return families()[family].file, args.initial_style
    if args.initial_style is not None:
        return None, args.initial_style
    teachers = [style.place for style in shipped_styles() if style.name == presets()[args.preset].initial_style]
    network = make_config(args.config, None, preset=args.preset).transformer.single
    fitting = [
        (file, index)
        for file, index in teachers
        if network.takes_weights_of(load_transformer(file, style=index).config.single)
    ]
    return fitting[0] if fitting else (None, None)


def join_files(args: argparse.Namespace) -> int:
    """Write one file with the styles of several."""
    check_output(args.output)
    nets = [load_transformer(path, style=None) for path in args.weights]
    save_transformer(joined(nets), args.output)
    return 0


def fit_palettes(args: argparse.Namespace) -> int:
    """Write the styles of a file with palettes that were made from paintings and photos."""
    check_output(args.output)
    net = load_transformer(args.weights, style=None)
    config = TrainConfig(
        transformer=replace(net.config, palette=False),
        identity_weight=float(net.config.identity),
        batch_size=PHOTOS,
    )
    config.check_paintings(len(args.painting))
    paintings = [load_style(path, size_px=config.style_size_px) for path in args.painting]
    photos = photo_stream(config, FolderPhotos(args.photos)).batch(0)
    save_transformer(with_fitted_palettes(net, paintings, photos, share=args.share), args.output)
    return 0


def make_config(
    options: dict[str, Any],
    initial: Path | None,
    *,
    initial_style: int | None = None,
    preset: str | None = None,
    paintings: int = 1,
) -> TrainConfig:
    """Return the config of a preset and JSON options for some paintings.

    The default for `transformer` is that of the preset, or else of the initial weights, with as many styles as there
    are paintings, and one more for the identity if it has a weight, or if convolutions do not learn and the initial
    network has it.
    """
    if preset is not None:
        options = {**presets()[preset].config.to_dict(), **options}
    first = TransformerConfig() if initial is None else load_transformer(initial, style=initial_style).config
    network = options.get("transformer", replace(first.single, palette=False).to_dict())
    identity = bool(options.get("identity_weight")) or (options.get("trained") == "norms" and first.identity)
    if isinstance(network, dict) and paintings + identity > 1:
        network = {"styles": paintings + identity, "identity": identity, **network}
    return TrainConfig.from_dict({**options, "transformer": network})


def train_upscaling(args: argparse.Namespace) -> int:
    """Train a network that enlarges pictures to the last step or until a signal, and write its weights.

    Return the exit code.
    """
    check_output(args.output)
    photos = FolderPhotos(args.pictures)
    pictures = [decode(photos.read(name), Limits()).rgb for name in photos.names]
    names = ("factor", "steps", "feature_steps", "feature_weight")
    config = UpscaleConfig(**{name: getattr(args, name) for name in names})
    net = None if args.initial is None else load_upscale_net(args.factor, args.initial)
    with stopped_by_signals() as stopped:
        net = train_upscaler(pictures, config, net=net, on_step=print_upscaling, stop=stopped.is_set)
        save_upscale_net(net, args.output)
    return 130 if stopped.is_set() else 0


def train_guesses(args: argparse.Namespace) -> int:
    """Train a network that guesses styles of a family to the last step or until a signal, and write it.

    It is also written every hundred steps. Return the exit code.
    """
    check_output(args.output)
    family = families()[args.family]
    net = load_transformer(family.file, style=None)
    config = replace(
        presets()[DEFAULT_OF_FAMILY].config, transformer=net.config.newcomer, steps=args.steps, **OWN_OPTIONS
    )
    folder = FolderPhotos(args.paintings)
    paintings = [decode(folder.read(name), Limits(max_px=LARGEST_PX)).rgb for name in folder.names]
    photos = FolderPhotos(args.photos)
    predictor = None if args.initial is None else load_predictor(args.initial)

    def show(losses: PredictorLosses, predictor: StylePredictor) -> None:
        print_guesses(losses)
        if losses.step % 100 == 0:
            write_whole(args.output, dump_predictor(predictor))

    with stopped_by_signals() as stopped:
        predictor = train_predictor(
            net,
            paintings,
            photos,
            config,
            views=args.views,
            predictor=predictor,
            on_step=show,
            stop=stopped.is_set,
        )
        write_whole(args.output, dump_predictor(predictor))
    return 130 if stopped.is_set() else 0


def print_guesses(losses: PredictorLosses) -> None:
    """Print a line for every hundredth step."""
    if losses.step % 100 == 0:
        line = f"step {losses.step}  content {losses.content:.4g}  style {losses.style:.4g}  grid {losses.grid:.4g}"
        print(line, flush=True)


def print_upscaling(losses: UpscaleLosses) -> None:
    """Print a line for every hundredth step."""
    if losses.step % 100 == 0:
        print(f"step {losses.step}  pixels {losses.pixels:.4g}  features {losses.features:.4g}", flush=True)


def open_photos(args: argparse.Namespace) -> PhotoSource:
    """Return the photos of a folder or of an S3 prefix; the `NST_S3_*` variables configure the storage."""
    if not args.photos.startswith("s3://"):
        return FolderPhotos(Path(args.photos))
    cache = FileCache(args.cache or args.run / "photos", max_bytes=args.cache_bytes)
    return StoredPhotos(BlobStore(StorageSettings()), BlobUri.parse(args.photos), cache=cache)


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second signal has its default effect."""
    stopped = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: object) -> None:
        stopped.set()
        restore()
        print("stopping after this step", file=sys.stderr)

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()


def print_step(losses: StepLosses) -> None:
    """Print a line for every tenth step."""
    if losses.step % 10 == 0:
        names = ("content", "style", "tv", *(name for name in ("stability", "shift", "grid") if getattr(losses, name)))
        parts = (f"{name} {getattr(losses, name):.4g}" for name in names)
        print(f"step {losses.step}  {'  '.join(parts)}  {losses.seconds:.2f} s", flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
