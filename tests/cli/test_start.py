"""A command starts without the others, and each of them starts."""

import typer

from megatron_lrps.cli.app import app
from megatron_lrps.cli.start import keep_the_called_one
from tests.conftest import Lrps

NAMES = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def copy() -> typer.Typer:
    other = typer.Typer()
    other.callback()(lambda: None)
    other.registered_commands = [*app.registered_commands]
    return other


def test_each_command_is_kept_alone_by_its_name() -> None:
    for name in NAMES:
        other = copy()
        keep_the_called_one(other, [name, "plan.yaml"])
        assert list(typer.main.get_command(other).commands) == [name]  # type: ignore[attr-defined]


def test_for_help_completion_and_slips_all_are_there() -> None:
    for words in ([], ["--help"], ["--version"], ["plam"], ["--show-completion", "plan"]):
        other = copy()
        keep_the_called_one(other, words)
        assert len(other.registered_commands) == len(app.registered_commands)


def test_a_slip_is_answered_with_the_command_that_was_meant(lrps: Lrps) -> None:
    code, _, stderr = lrps("plam")
    assert code == 2
    assert "Did you mean 'plan'?" in stderr
