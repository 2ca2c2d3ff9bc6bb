"""`nst styles import` and `nst styles export`: read styles from files and write them to files."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from nst_core.client import ApiError, Client
from nst_core.client.resources.styles import Style
from nst_core.errors import ProtocolError, WeightsError
from nst_core.peers.strangers import TENSORFLOW_HINT, is_tensorflow_name
from nst_core.styles import CARD_NAME, PLOT_NAME, SHEET_NAME, WEIGHTS_NAME, version_of
from scheduler.cli.commands.convert import Weights, weights_of
from scheduler.cli.commands.parameters import AsJson
from scheduler.cli.options import given, parse_style
from scheduler.cli.refusals import check_style_name
from scheduler.cli.session import Session, session_of
from scheduler.cli.transfer.files import write_whole
from scheduler.cli.ui.styles import style_page

#: In the card of an exported folder: which style of the network it is.
_INDEX = "style_index"


def import_style(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Checkpoint of pytorch/examples or gordicaleksa/pytorch-neural-style-johnson, an .npz of "
            "lengstrom/fast-style-transfer, weights of nst, or a folder written by nst styles export.",
            exists=True,
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the style.")],
    title: Annotated[str | None, typer.Option(help="Title of the painting.")] = None,
    artist: Annotated[str | None, typer.Option(help="Painter.")] = None,
    year: Annotated[str | None, typer.Option(help="Year of the painting.")] = None,
    rights: Annotated[str | None, typer.Option(help="License of the weights.")] = None,
    index: Annotated[
        int | None, typer.Option(help="Which style of the network it is, from 0, if it has several.", min=0)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the present version of the style.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a style from a network that was trained elsewhere.

    Results are the same as those of the original program, in the size of the photo. Converting a checkpoint needs
    torch on this machine.
    """
    session = session_of(context)
    with tempfile.TemporaryDirectory(prefix="nst-import-") as scratch, session.client() as client:
        check_style_name(client, name)
        card, weights = _read(session, file, Path(scratch))
        exported = card.pop(_INDEX, 0)
        card |= given(title=title, artist=artist, year=year, rights=rights, origin=weights.origin)
        index = exported if index is None else index
        style = client.import_style(name, weights.path, card, replace=replace, index=index)
    session.show(style, style_page, as_json=as_json)


def export(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Style to export.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", file_okay=False)],
) -> None:
    """Write a style to a folder that `nst styles import` accepts.

    The folder gets the weights and the card, and if this scheduler trained the style, the preview sheet and the loss
    curve, except for versions from before an extension. The weights are those of all styles of its network.
    """
    session = session_of(context)
    name, version = parse_style(text)
    with session.client() as client:
        style = client.style(name, version=version)
        # By version, because a new version may have been published in the meantime.
        weights = client.style_weights(name, version=style.version)
        pictures = _pictures(client, style)
    if version_of(weights, style.index) != style.version:
        raise ProtocolError(f"The downloaded weights of {name} do not belong to version {style.version}.")
    for file, picture in pictures.items():
        write_whole(output / file, picture)
    card = style.card | ({_INDEX: style.index} if style.index else {})
    write_whole(output / CARD_NAME, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(output / WEIGHTS_NAME, weights)  # last, because a folder with weights counts as a style
    session.note(f"{name}@{style.version[:12]} → {output}")


def _pictures(client: Client, style: Style) -> dict[str, bytes]:
    """Return the pictures of the run that the card names, by file name.

    It is empty if this scheduler does not know the run, or if the run was extended and has made another version since.
    """
    run = style.card.get("run")
    if not isinstance(run, str):
        return {}
    try:
        if client.runs.get(run).version != style.version:
            return {}
        return {SHEET_NAME: client.runs.sheet(run), PLOT_NAME: client.runs.curve(run)}
    except ApiError as error:
        if error.code != "not_found":
            raise
        return {}


def _read(session: Session, file: Path, scratch: Path) -> tuple[dict[str, Any], Weights]:
    """Return the card and the weights of a file, or of an exported folder."""
    if not file.is_dir():
        with session.err.status(f"Reading {escape(str(file))}"):
            return {}, weights_of(file, scratch)
    if not (file / WEIGHTS_NAME).is_file():
        if any(each.name == "checkpoint" or is_tensorflow_name(each.name) for each in file.iterdir()):
            raise WeightsError(f"{file} is a TensorFlow checkpoint, which nst cannot read: {TENSORFLOW_HINT}.")
        raise WeightsError(f"There is no {WEIGHTS_NAME} in {file}.")
    card = file / CARD_NAME
    try:
        values = json.loads(card.read_text()) if card.exists() else {}
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{card} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{card} is not the card of a style: it must be a JSON object.")
    if not isinstance(values.get(_INDEX, 0), int):
        raise WeightsError(f"{card} is not the card of a style: {_INDEX} must be a whole number.")
    return values, weights_of(file / WEIGHTS_NAME, scratch)
