"""Every command line of `lrps` that a page shows is one that `lrps` takes: command and options are there."""

from pathlib import Path

import pytest
import typer.main

from megatron_lrps.cli.app import app
from tests.docs.pages import PAGES, ROOT, commands

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LINES = [(page, words) for page in PAGES for words in commands(page)]


def test_the_pages_show_commands() -> None:
    assert len(LINES) > 100


@pytest.mark.parametrize(
    ("page", "words"), LINES, ids=[f"{page.relative_to(ROOT)}: {' '.join(words)[:60]}" for page, words in LINES]
)
def test_the_command_and_its_options_are_there(page: Path, words: list[str]) -> None:
    options = [word.partition("=")[0].strip("[].,;") for word in words if word.lstrip("[").startswith("--")]
    if words[0].startswith("-"):  # `lrps --help`
        return
    names = {
        option for parameter in COMMANDS[words[0]].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {option.split("|")[0] for option in options} - names - {"--help"} == set()
