"""The scripts of slurm/ alone, without a cluster: srun, squeue, scontrol and nvidia-smi are stand-ins that write down how
they were called. What a real Slurm does with the scripts is tested in the other files here.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "slurm"
STAND_INS = {
    # A check of the nodes is run for each; training is what the test says, in LRPS_PYTHON's place, for rank 0 alone.
    "srun": """
echo "srun $*" >>"$CALLS"
options=() nodes=(one)
while [[ $1 == -* ]]; do options+=("$1"); shift; done
[[ ${options[*]} != *--ntasks-per-node=1* ]] || nodes=($NODES)
for SLURMD_NODENAME in "${nodes[@]}"; do
  export SLURMD_NODENAME SLURM_PROCID=0 SLURM_NTASKS=${#nodes[@]} SLURM_LOCALID=0
  "$@" || code=$?
done
exit "${SRUN_CODE:-${code:-0}}"
""",
    "squeue": 'case "$*" in *%T*) echo RUNNING ;; *%x*) echo "$EXCLUDED" ;; esac',
    "scontrol": """
case $1 in
  show) printf '%s\\n' $NODES ;;
  *) echo "scontrol $*" >>"$CALLS" ;;
esac
[[ $1 != requeue ]] || kill -TERM "$PPID" # as Slurm ends the shell of a job that is requeued
""",
    "nvidia-smi": 'for number in 1 2; do echo "GPU $number: H100"; done',
}


class Ended(NamedTuple):
    """How a script ended."""

    code: int
    said: str
    """Its output, and the ranks'."""
    calls: str
    """The stand-ins' calls, one a line, but for squeue's and nvidia-smi's."""

    @property
    def requeued(self) -> bool:
        return "scontrol requeue 7" in self.calls


class Script:
    """A script as Slurm would start it in job 7, for the path ``v1`` of a campaign in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.save = folder, folder / "save"
        self.bin = folder / "bin"
        for made in (self.bin, self.save / "paths" / "v1"):
            made.mkdir(parents=True)
        for name, text in STAND_INS.items():
            self.stand_in(name, text)
        (folder / "plan.yaml").touch()
        self.events = self.save / "paths" / "v1" / "events.jsonl"
        self.site("")

    def stand_in(self, name: str, text: str) -> Path:
        """Put a program of that name in front of all others."""
        file = self.bin / name
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
        return file

    def site(self, text: str) -> None:
        """The site file."""
        (self.folder / "site.sh").write_text(text)

    def records(self, event: str, code: int) -> str:
        """What rank 0's Python is to do to record an exit code."""
        return f"echo '{json.dumps({'event': event, 'exit_code': code})}' >>{self.events}"

    def run(self, *python: str, script: str = "branch", nodes: str = "node1 node2", **env: str) -> Ended:
        """Run it; ``python`` are the lines of shell that the ranks run in Python's place."""
        calls = self.folder / "calls"
        calls.write_text("")
        given = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "NODES": nodes,
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_NNODES": str(len(nodes.split())),
            "SLURM_NTASKS": str(len(nodes.split())),
            "SLURM_GPUS_ON_NODE": "2",
            "LRPS_PLAN": str(self.folder / "plan.yaml"),
            "LRPS_SAVE": str(self.save),
            "LRPS_PATH": "v1",
            "LRPS_SLURM_DIR": str(SCRIPTS),
            "LRPS_SITE": str(self.folder / "site.sh"),
            "LRPS_PYTHON": str(self.stand_in("python", "\n".join(python))),
            **env,
        }
        done = subprocess.run(
            ["bash", str(SCRIPTS / f"{script}.sbatch")],
            env={name: value for name, value in given.items() if value != "-"},
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout + done.stderr, calls.read_text())


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_part_that_rank_0_calls_done_while_a_rank_fails_is_started_again(script: Script) -> None:
    """Its end may not be on disk: what follows must not start from it."""
    ended = script.run(script.records("stopped", 0), SRUN_CODE="137")
    assert ended.requeued
    assert "to be continued: requeued, 1 of 3 since checkpoint none" in ended.said
    again = script.run(script.records("stopped", 0), SRUN_CODE="1", LRPS_MAX_REQUEUES="1")
    assert (again.code, again.requeued) == (75, False)
    assert script.run(script.records("stopped", 0)).code == 0
