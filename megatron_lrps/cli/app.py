"""The ``lrps`` command: which file holds which command, and how an error ends.

A command's file is imported when the command is called, and what is heavy inside of the command's function, so that
planning stays instant.
"""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NoReturn

# Pydantic would scan every installed distribution for plugins: a tenth of a second on large environments.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer
from typer.core import TyperGroup

from megatron_lrps.errors import EXIT_FAILED, LrpsError
from megatron_lrps.version import __version__

COMMANDS = (
    *("init", "schema"),
    *("plan", "lr", "args", "prepare", "run", "submit", "save", "stop", "cancel"),
    *("status", "tree", "show", "diff", "verify", "gc", "pin", "cut", "forecast", "doctor", "quickstart"),
    *("export", "import", "eval", "preview", "compare", "promote", "reproduce", "report", "tensorboard"),
)
"""All commands, in the order of ``lrps --help``. ``plan`` is the function ``plan`` of ``cli/plan.py``, and so on."""
OTHER_NAMES = {"import": "import_"}
"""The file and function of a command whose name Python keeps for itself."""


class CommandFiles(Mapping[str, Any]):
    """Command name -> command; a command's file is imported when the command is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        function = OTHER_NAMES.get(name, name)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(getattr(import_module(f"megatron_lrps.cli.{function}"), function))
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group of commands that are imported one by one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": CommandFiles()})

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names alone: typer's own would import every command."""
        return list(COMMANDS)


app = typer.Typer(
    name="lrps",
    cls=LazyGroup,
    help="Train versions of an LLM by learning-rate path switching, on unmodified Megatron-Core.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lrps {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options before a command."""


def main() -> NoReturn:
    """Run the command line; an error of the family prints its text alone and gives its own exit code."""
    # Starting makes many objects and no garbage: searching for it takes a twentieth of the time of `lrps plan`.
    gc.set_threshold(100_000)
    try:
        app(prog_name="lrps")
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `lrps lr PLAN | head`: the reader has what it wanted
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    sys.exit(0)
