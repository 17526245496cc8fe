"""Only the called command's file is imported, and each of them starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from megatron_lrps.cli.app import COMMANDS, app
from tests.cli.commands import PAPER, write
from tests.conftest import Lrps
from tests.plan.plans import versions

FOUND = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_each_command_has_its_help_in_full_sentences() -> None:
    assert list(FOUND) == list(COMMANDS)
    for name, command in FOUND.items():
        texts = [command.help, *(each.help for each in command.params if each.name != "help")]
        assert [text for text in texts if not text or not text.rstrip().endswith(".")] == [], name
        assert [text for text in texts if len(text.splitlines()[0]) > 110] == [], name


MODULES_LAST = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from megatron_lrps.cli.app import main
main()
"""


def imported_by(*words: str | Path) -> set[str]:
    """The modules that `lrps WORDS` imports."""
    argv = [sys.executable, "-c", MODULES_LAST, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=True)
    return set(done.stderr.split())


def test_the_called_command_alone_is_imported(tmp_path: Path) -> None:
    files = {f"megatron_lrps.cli.{name}" for name in (*COMMANDS, "import_")}
    assert imported_by("tree", write(tmp_path)) & files == {"megatron_lrps.cli.tree"}


@pytest.mark.parametrize("command", [("plan",), ("plan", "--json"), ("lr", "--csv"), ("args", "--path", "v1")])
def test_planning_imports_nothing_heavy(tmp_path: Path, command: tuple[str, ...]) -> None:
    imported = imported_by(command[0], write(tmp_path, **PAPER | {"versions": versions(2000)}), *command[1:])
    assert f"megatron_lrps.cli.{command[0]}" in imported
    heavy = {"torch", "megatron", "numpy", "rich", "matplotlib", "transformers"}
    assert {name for name in imported if name.partition(".")[0] in heavy} == set()


def test_help_and_version_name_what_there_is(lrps: Lrps) -> None:
    code, stdout, stderr = lrps("--help")
    assert (code, stderr) == (0, "")
    lines = stdout.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == [*COMMANDS]
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []  # each fits into its line
    assert lrps("--version").stdout.startswith("lrps ")


def test_a_slip_is_answered_with_the_command_that_was_meant(lrps: Lrps) -> None:
    code, _, stderr = lrps("plam")
    assert code == 2
    assert "Did you mean 'plan'?" in stderr
