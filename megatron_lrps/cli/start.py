"""What keeps the start of a command short."""

from collections.abc import Sequence

from typer import Typer
from typer.main import get_command_name
from typer.models import CommandInfo


def keep_the_called_one(app: Typer, words: Sequence[str]) -> None:
    """Leave out all commands but the one that is called: typer reads the options of each that it has.

    That is a twentieth of the start of `lrps plan`. Where none is called, as for help and completion, all stay.

    Args:
        app: The command line.
        words: What follows `lrps`.
    """
    called = next(iter(words), "")
    found = [each for each in app.registered_commands if _name(each) == called]
    if found:
        app.registered_commands = found


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))
