"""The command line of training, from photos to weights."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nst_core.__main__ import first_weights, main, make_config, make_parser, stopped_by_signals
from nst_core.errors import ConfigError
from nst_core.nets.style_predictor import load_predictor
from nst_core.nets.weights import dump_transformer, load_transformer
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families, shipped_styles
from nst_core.training.curve import read_losses
from nst_core.training.presets import TEACHER, TEACHER_OF_FAMILY, presets
from tests.shipped import shipped_style
from tests.unit.nst_core.training.kit import encoded, soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {
    "steps": 3,
    "batch_size": 1,
    "size_px": 32,
    "style_size_px": 48,
    "content_layer": "relu1_2",
    "style_weights": {"relu1_2": 5.0},
    "transformer": {"width": 4, "blocks": 1},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a training. Its parent has a painting and a folder of photos."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        soft_picture(number).save(tmp_path / "photos" / f"{number}.png")
    soft_picture(7, 80, 72).save(tmp_path / "painting.png")
    return tmp_path / "run"


def train(run: Path, *options: str, photos: str = "", **changes: Any) -> int:
    """Train through the command line and return the exit code."""
    beside = run.parent
    command = ["train", "--painting", str(beside / "painting.png"), "--photos", photos or str(beside / "photos")]
    command += ["--run", str(run), "--device", "cpu", "--exact", "--config", json.dumps(CONFIG | changes)]
    return main([*command, *options])


def test_a_finished_training_is_not_trained_further(run: Path) -> None:
    options = ["--samples", str(run.parent / "painting.png"), "--sample-every", "2", "--checkpoint-every", "1"]
    assert train(run, *options) == 0
    first = (run / "style.safetensors").read_bytes()
    assert train(run, *options) == 0
    assert (run / "style.safetensors").read_bytes() == first, "a finished training is not trained further"
    assert sorted(path.name for path in run.glob("*.jpg")) == ["painting_000002.jpg", "painting_000003.jpg"]
    assert (run / "losses.png").exists()
    assert load_transformer(run / "style.safetensors").config.width == 4
    with Image.open(run / "painting_000003.jpg") as sample:
        assert sample.size == (80, 72)


def test_photos_may_be_in_storage(
    run: Path, blobs: BlobStore, s3_server: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = BlobUri(blobs.bucket, "training/photos/")
    for number in range(3):
        blobs.put(BlobUri(prefix.bucket, f"{prefix.key}{number}.png"), encoded(soft_picture(number)))
    assert s3_server.s3_endpoint
    assert s3_server.s3_access_key
    assert s3_server.s3_secret_key
    monkeypatch.setenv("NST_S3_ENDPOINT", s3_server.s3_endpoint)
    monkeypatch.setenv("NST_S3_ACCESS_KEY", s3_server.s3_access_key.get_secret_value())
    monkeypatch.setenv("NST_S3_SECRET_KEY", s3_server.s3_secret_key.get_secret_value())
    assert train(run, photos=str(prefix)) == 0
    assert len(list((run / "photos").iterdir())) == 3
    local = run.parent / "local"
    assert train(local) == 0
    assert read_losses(local / "losses.csv") == read_losses(run / "losses.csv")


def test_a_shipped_style_can_be_trained_further_with_other_weights(run: Path) -> None:
    assert train(run) == 0
    fine = run.parent / "fine"
    fine_config = {key: value for key, value in CONFIG.items() if key != "transformer"} | {"content_weight": 9.0}
    command = ["train", "--painting", str(run.parent / "painting.png"), "--photos", str(run.parent / "photos")]
    command += ["--run", str(fine), "--exact", "--no-plot", "--initial", str(run / "style.safetensors")]
    assert main([*command, "--config", json.dumps(fine_config)]) == 0
    assert load_transformer(fine / "style.safetensors").config.width == 4
    assert not (fine / "losses.png").exists()


def shipped_weights(folder: Path) -> Path:
    """Write the weights of a shipped style to a file."""
    path = folder / "udnie.safetensors"
    path.write_bytes(shipped_style("udnie").weights())
    return path


def test_the_network_of_the_initial_weights_is_used_by_default(tmp_path: Path) -> None:
    path = shipped_weights(tmp_path)
    assert make_config({"steps": 5}, path).transformer == replace(load_transformer(path).config, palette=False)
    assert make_config({"transformer": {"width": 8}}, path).transformer.width == 8
    with pytest.raises(ConfigError, match="Unknown"):
        make_config({"stepz": 5}, path)


def test_several_paintings_and_the_identity_are_the_styles_of_one_network(tmp_path: Path) -> None:
    path = shipped_weights(tmp_path)
    network = replace(load_transformer(path).config, palette=False)
    assert make_config({}, path, paintings=3).transformer == replace(network, styles=3)
    assert make_config({"identity_weight": 5.0}, path, paintings=3).transformer == replace(
        network, styles=4, identity=True
    )
    assert make_config({"identity_weight": 5.0}, None).transformer.styles == 2


def test_a_new_style_keeps_the_identity_of_its_family(tmp_path: Path) -> None:
    path = shipped_weights(tmp_path)
    config = make_config({"trained": "norms"}, path)
    assert config.transformer == load_transformer(path, style=None).config.newcomer
    assert config.transformer.identity
    assert config.paintings == 1
    assert not make_config({"trained": "norms"}, path, initial_style=0).transformer.identity


def test_a_preset_comes_before_the_defaults_and_after_the_options() -> None:
    quick = presets()["quick"].config
    assert make_config({}, None, preset="quick") == quick
    config = make_config({"steps": 5}, None, preset="quick", paintings=3)
    assert config == replace(quick, steps=5, transformer=replace(quick.transformer, styles=3))
    assert make_config({}, None).transformer.styles == 1


@pytest.mark.parametrize(
    ("options", "style"),
    [
        (["--preset", "quick"], TEACHER),
        (["--preset", "norms", "--config", '{"transformer": {"output": "tanh", "grain": 3.0}}'], TEACHER_OF_FAMILY),
        (["--preset", "quick", "--config", '{"transformer": {"width": 16}}'], None),
        (["--preset", "paper"], None),
        ([], None),
    ],
)
def test_a_preset_begins_with_the_style_that_it_names_if_that_fits(options: list[str], style: str | None) -> None:
    place = next((shipped.place for shipped in shipped_styles() if shipped.name == style), (None, None))
    args = ["train", "--painting", "a.jpg", "--photos", "photos", "--run", "run"]
    assert first_weights(make_parser().parse_args([*args, *options])) == place
    given = ["--initial", "b.safetensors", "--initial-style", "1"]
    assert first_weights(make_parser().parse_args([*args, *options, *given])) == (Path("b.safetensors"), 1)


def test_an_instant_style_begins_with_a_whole_family() -> None:
    args = ["train", "--painting", "a.jpg", "--photos", "photos", "--run", "run", "--preset", "instant"]
    assert first_weights(make_parser().parse_args(args)) == (families()["painters"].file, None)
    assert first_weights(make_parser().parse_args([*args, "--initial-style", "2"])) == (families()["painters"].file, 2)
    with pytest.raises(ConfigError, match="instant trains one style, and there are 2 paintings"):
        first_weights(make_parser().parse_args([*args, "--painting", "a.jpg", "b.jpg"]))
    config = make_config({}, families()["painters"].file, preset="instant")
    assert (config.paintings, config.transformer.identity) == (1, True)


def test_a_network_that_guesses_styles_can_be_trained_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, seeds in (("paintings", (1, 2)), ("photos", (3, 4, 5))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            soft_picture(seed, 96, 80).save(tmp_path / folder / f"{seed}.png")
    made = tmp_path / "made.safetensors"
    places = ["--paintings", str(tmp_path / "paintings"), "--photos", str(tmp_path / "photos")]
    assert main(["predictor", *places, "--steps", "2", "--views", "1", "-o", str(made)]) == 0
    family = load_transformer(families()["painters"].file, style=None)
    assert load_predictor(made).fits(family)
    assert main(["predictor", *places, "--steps", "1", "--views", "1", "--initial", str(made), "-o", str(made)]) == 0
    learned = made.read_bytes()
    monkeypatch.setattr("nst_core.__main__.print_guesses", lambda losses: signal.raise_signal(signal.SIGTERM))
    assert main(["predictor", *places, "--views", "1", "--initial", str(made), "-o", str(made)]) == 130
    assert load_predictor(made).fits(family)
    assert made.read_bytes() != learned


def test_a_style_is_added_to_others_without_a_change_of_theirs(run: Path) -> None:
    soft_picture(8, 80, 72).save(run.parent / "second.png")
    paintings = [str(run.parent / name) for name in ("painting.png", "second.png")]
    assert train(run, "--painting", *paintings, identity_weight=10.0) == 0
    family = run / "style.safetensors"
    new = run.parent / "new"
    assert train(new, "--initial", str(family), "--initial-style", "1", trained="norms") == 0
    joined = run.parent / "joined.safetensors"
    assert main(["join", str(family), str(new / "style.safetensors"), "-o", str(joined)]) == 0
    assert load_transformer(joined, style=None).config.styles == 4
    parts = [(family, 0), (family, 1), (new / "style.safetensors", 0), (family, 2)]
    for index, (path, own) in enumerate(parts):
        alone, together = load_transformer(path, style=own), load_transformer(joined, style=index)
        assert dump_transformer(alone) == dump_transformer(together)
    assert load_transformer(joined, style=None).config.identity
    assert dump_transformer(load_transformer(joined, style=2)) != dump_transformer(load_transformer(family, style=1))


def test_styles_get_palettes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft_picture(8, 80, 72).save(run.parent / "second.png")
    paintings = ["--painting", *(str(run.parent / name) for name in ("painting.png", "second.png"))]
    assert train(run, *paintings, identity_weight=10.0) == 0
    command = ["palettes", str(run / "style.safetensors"), "--photos", str(run.parent / "photos")]
    made = run.parent / "made.safetensors"
    assert main([*command, *paintings, "-o", str(made)]) == 0
    net = load_transformer(made, style=None)
    assert net.config.palette
    assert [bool(palette.any()) for palette in net.get_buffer("palette")] == [True, True, False]
    plain = load_transformer(run / "style.safetensors", style=None)
    assert all(net.state_dict()[name].equal(tensor) for name, tensor in plain.state_dict().items())
    assert make_config({}, made).transformer == make_config({}, run / "style.safetensors").transformer
    capsys.readouterr()
    assert main([*command, *paintings[:2], "-o", str(made)]) == 1
    assert capsys.readouterr().err == "error: The number of paintings must be 2, not 1.\n"


def test_networks_that_do_not_fit_are_not_joined(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(run) == 0
    others = [str(run / "style.safetensors"), str(shipped_weights(run.parent))]
    assert main(["join", *others, "-o", str(run / "joined.safetensors")]) == 1
    assert capsys.readouterr().err == "error: Only networks of the same kind can be joined.\n"
    assert not (run / "joined.safetensors").exists()


def test_more_steps_need_the_extend_option(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(run) == 0
    assert train(run, steps=4) == 1
    assert "steps 3, not 4" in capsys.readouterr().err
    assert train(run, "--extend", steps=4) == 0
    assert len(read_losses(run / "losses.csv")) == 4


def test_errors_print_one_line_and_exit_with_code_1(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, changes, sentence in (
        (["--device", "tpu"], {}, "The device must be"),
        ([], {"steps": 0}, "steps must be"),
        ([], {"style_weights": {"relu7_1": 1.0}}, "relu7_1"),
        (["--initial", str(run.parent / "missing.safetensors")], {}, "cannot be read"),
        (["--painting", str(run.parent / "missing.png")], {}, "cannot be read"),
        (["--samples", str(run.parent / "missing.png")], {}, "cannot be read"),
        (["--photos", str(run.parent / "nowhere")], {}, "no photos"),
        (["--photos", "s3://"], {}, "is not an address"),
    ):
        assert train(run, *options, **changes) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert sentence in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[1]", "7", "[" * 50_000])
def test_a_config_that_is_not_a_json_object_is_a_usage_error(run: Path, text: str) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["train", "--painting", "p", "--photos", "p", "--run", str(run), "--config", text])
    assert exit.value.code == 2


@pytest.mark.parametrize(
    "options",
    [
        ["join", "no weights"],
        ["palettes", "no weights", "--painting", "no painting", "--photos", "no photos"],
        ["upscaler", "--pictures", "no pictures", "--factor", "2"],
        ["predictor", "--paintings", "no paintings", "--photos", "no photos"],
    ],
)
def test_that_nothing_can_be_written_is_known_before_all_work(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for output, sentence in ((tmp_path, "Is a directory"), (tmp_path / "gone" / "new", "No such file or directory")):
        assert main([*options, "-o", str(output)]) == 1
        assert capsys.readouterr().err == f"error: {output} cannot be written: {sentence}.\n"


def test_an_interrupt_before_a_training_has_a_code_of_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_core.__main__.resolve_device", lambda name: signal.raise_signal(signal.SIGINT))
    assert train(run) == 130


def test_the_first_signal_stops_gracefully_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals() as stopped:
        assert not stopped.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with stopped_by_signals() as stopped:
        assert not stopped.is_set()
    assert signal.getsignal(signal.SIGINT) is before
