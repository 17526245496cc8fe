"""What a shell completes: commands, options, and the names of a plan's paths."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from plan.plans import plan_dict

COMPLETE = """
eval "$(lrps --show-completion bash)"
read -r -a COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_lrps_completion lrps
printf '%s\\n' "${COMPREPLY[@]}"
complete -p lrps
"""


@pytest.fixture
def completed(tmp_path: Path) -> "Completed":
    command = tmp_path / "bin/lrps"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m megatron_lrps.cli "$@"\n')
    command.chmod(0o755)
    return Completed(tmp_path)


class Completed:
    """What bash itself offers behind a line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, line: str) -> list[str]:
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", line],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=300, check=False,
        )  # fmt: skip
        *words, registered = done.stdout.splitlines()
        assert done.stderr == ""
        # Where the command has nothing to offer, bash completes file names: plans, folders, gates.
        assert registered == "complete -o default -F _lrps_completion lrps"
        return [word for word in words if word]


def test_bash_completes_commands_options_and_the_plans_names(tmp_path: Path, completed: Completed) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan_dict()))
    (tmp_path / "broken.yaml").write_text("campaign: [")
    assert {"status", "submit", "show", "schema"} <= set(completed("lrps s"))
    assert completed("lrps plan --check") == ["--check-layout"]
    assert completed("lrps plan pl") == []
    assert completed("lrps export plan.yaml ") == ["main", "v1", "v2"]
    assert completed("lrps run plan.yaml --path v") == ["v1", "v2"]
    assert completed("lrps diff plan.yaml v1 m") == ["main"]
    for nothing in ("broken.yaml", "missing.yaml", "bin"):
        assert completed(f"lrps export {nothing} ") == []
