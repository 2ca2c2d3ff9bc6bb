"""Options that several commands have."""

from scheduler.cli.app import command_line


def test_stylize_and_optimize_have_the_same_options_for_a_job() -> None:
    commands = command_line().commands
    stylize, optimize = ({each.name for each in commands[name].load().params} for name in ("stylize", "optimize"))
    job = {"own_id", "priority", "expires_after", "deadline", "max_failures", "max_attempts", "name", "label"}
    assert (stylize & optimize) >= job | {"dry_run", "as_json", "format", "quality", "output", "inputs", "style"}
    look = {"strength", "preserve_color", "mask", "region", "faces", "precision", "look", "stroke", "forms", "upscale"}
    assert stylize - optimize == look | {"max_px"}
