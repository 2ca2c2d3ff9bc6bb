"""Commands whose modules are imported when they are used, so that `nst --help` is quick."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group


class LazyCommand(TyperCommand):
    """A command, or a group of commands, of which only the name and the summary are known until it is used."""

    def __init__(self, name: str, place: str, *, help: str, panel: str | None = None) -> None:
        """`place` is `module:name`: a `typer.Typer`, or a function with one command.

        A module without a dot is below `scheduler.cli.commands`.
        """
        super().__init__(name, help=help, rich_help_panel=panel)
        self._place = place
        #: The last line of the help of a command, by its words, such as "jobs list".
        self.last_line: Callable[[str], str | None] = lambda words: None

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments of the real command; its context takes the place of this one's."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """Import the module of the command and return the real one."""
        module, _, name = self._place.partition(":")
        target = getattr(import_module(module if "." in module else f"scheduler.cli.commands.{module}"), name)
        if not isinstance(target, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(self.name)(target)
            command = get_command(app)
            command.epilog = self.last_line(str(self.name))
            return command
        group = get_group(target)
        group.help = self.help
        for each in group.commands.values():
            each.epilog = self.last_line(f"{self.name} {each.name}")
        return group
