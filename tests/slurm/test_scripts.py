"""The scripts of slurm/ alone, without a cluster: srun, squeue, scontrol and nvidia-smi are stand-ins that write down
how they were called. What a real Slurm does with the scripts is tested in the other files here.
"""

import json
import os
import shutil
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
[[ ${options[*]} != *--ntasks-per-node=1* ]] || { nodes=($NODES) && echo "Welcome to the cluster."; }
[[ ${#nodes[@]} == 1 && $* == *pretrain* ]] && trap : USR2 # srun hands the signal on, and outlives it
for SLURMD_NODENAME in "${nodes[@]}"; do
  export SLURMD_NODENAME SLURM_PROCID=0 SLURM_NTASKS=${#nodes[@]} SLURM_LOCALID=0
  "$@" || code=$?
done
[[ $* != *launch.slurm.leg_trained* ]] || unset SRUN_CODE
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


JUDGE = """
[[ $* != *launch.slurm.leg_trained* ]] || { echo "judged $*" >>"$CALLS"; exit "${TRAINED:-1}"; }
[[ $* != *launch.slurm.*_guard* ]] || { echo "guard $*" >>"$CALLS"; exec sleep 100; }
"""
"""Whether the path is trained is what TRAINED says, 0 for yes. The guards beside the ranks only watch."""


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
            "LRPS_PYTHON": str(self.stand_in("python", "\n".join([JUDGE, *python]))),
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


@pytest.mark.parametrize("code", ["1", "74", "78", "134", "137"])
def test_a_part_whose_end_is_saved_has_succeeded_whatever_happened_after(script: Script, code: str) -> None:
    """So what follows it by afterok starts; and what happened is said."""
    script.events.write_text('{"event": "started"}\n{"event": "saved"}\n')
    word = 'echo "1 rank 3: TypeError: eval_iters" >"$LRPS_FAILURE"'
    ended = script.run(word, script.records("stopped", int(code)), SRUN_CODE=code, TRAINED="0", LRPS_UNTIL="8")
    assert (ended.code, ended.requeued) == (0, False)
    assert f"afterwards rank 3: TypeError: eval_iters, and the ranks ended with exit code {code}\n" in ended.said
    assert f"judged -m megatron_lrps.launch.slurm.leg_trained {script.folder}/plan.yaml v1 8 2\n" in ended.calls
    assert not list(script.save.glob("paths/v1/logs/*"))  # neither a failure nor a count of requeues
    # Without LRPS_UNTIL it is the path's end that counts; the ranks are asked first, and alone where all is well.
    assert "launch.slurm.leg_trained" in script.run(SRUN_CODE=code, TRAINED="0").calls
    assert "launch.slurm.leg_trained" not in script.run(TRAINED="0").calls


def test_ranks_that_stopped_before_their_end_are_taken_at_their_word(script: Script) -> None:
    ended = script.run(script.records("stopped", 75), SRUN_CODE="75", TRAINED="0")
    assert ended.requeued
    assert "launch.slurm.leg_trained" not in ended.calls  # the time limit is near


@pytest.mark.parametrize(("code", "asks"), [("137", False), ("143", False), ("1", True)])
def test_a_job_that_was_asked_to_stop_does_not_spend_its_last_minutes_on_the_question(
    script: Script, code: str, asks: bool
) -> None:
    """Where it is requeued anyway: one rank is killed because another has stopped, and nothing was recorded."""
    script.site('echo $$ >"${CALLS%/*}/shell"\n')
    ended = script.run('kill -USR1 "$(cat "${CALLS%/*}/shell")"; sleep 1', SRUN_CODE=code, TRAINED="0")
    assert "asked to save and stop" in ended.said
    assert ended.calls.count(f"guard -m megatron_lrps.launch.slurm.stop_guard {script.folder}/plan.yaml v1\n") == 1
    assert ("launch.slurm.leg_trained" in ended.calls, ended.requeued) == (asks, not asks)


def test_a_promotion_is_judged_by_its_own_exit_code(script: Script) -> None:
    ended = script.run(script="promote", nodes="node1", SRUN_CODE="1", TRAINED="0")
    assert ended.code == 1
    assert "launch.slurm.leg_trained" not in ended.calls


def test_a_container_judges_too(script: Script) -> None:
    script.site("LRPS_CONTAINER=/images/a.sqsh\n")
    calls = script.run(SRUN_CODE="1", TRAINED="0", LRPS_PYTHON="", LRPS_MOUNTS="/data:/data").calls.splitlines()
    judge = next(line for line in calls if "launch.slurm.leg_trained" in line)
    assert "--nodes=1 --ntasks=1 --container-image=/images/a.sqsh --container-mounts=/data:/data" in judge


@pytest.mark.parametrize("code", ["134", "137", "143"])
def test_a_step_that_was_killed_is_requeued(script: Script, code: str) -> None:
    assert script.run(SRUN_CODE=code).requeued


def test_a_rank_that_fails_by_itself_ends_the_job_although_others_are_killed_for_it(script: Script) -> None:
    ended = script.run('echo "1 rank 3: ValueError: 5 experts" >"$LRPS_FAILURE"', SRUN_CODE="137")
    assert (ended.code, ended.requeued) == (1, False)
    assert "lrps: the first to fail was rank 3: ValueError: 5 experts\n" in ended.said
    assert not list(script.save.glob("paths/v1/logs/failure*"))
    # What rank 0 has recorded of the end of all goes before what one of them says of its own.
    stopped = script.run(
        'echo "1 rank 3: ValueError: 5 experts" >"$LRPS_FAILURE"', script.records("stopped", 75), SRUN_CODE="137"
    )
    assert stopped.requeued


def test_a_disk_or_driver_that_does_not_answer_makes_a_node_unfit(script: Script) -> None:
    script.stand_in("nvidia-smi", '[[ $SLURMD_NODENAME != node2 ]] || sleep 60\necho "GPU 0: H"; echo "GPU 1: H"')
    ended = script.run(LRPS_HEALTH_SECONDS="2")
    assert "lrps: unfit node: node2 gave no answer in 2 s\n" in ended.said
    assert "scontrol update JobId=7 ExcNodeList=node2\n" in ended.calls


def test_a_signal_while_nodes_are_checked_requeues(script: Script) -> None:
    script.stand_in("nvidia-smi", 'kill -USR1 "$(cat "${CALLS%/*}/shell")"; sleep 60')
    script.site('echo $$ >"${CALLS%/*}/shell"\n')
    ended = script.run(LRPS_HEALTH_SECONDS="50", nodes="node1")
    assert ended.requeued
    assert "asked to save and stop" in ended.said
    assert "unfit node" not in ended.said


def test_only_what_is_unfit_everywhere_on_many_nodes_is_no_nodes_fault(script: Script) -> None:
    script.stand_in("nvidia-smi", "echo GPU 0: H100")
    everywhere = script.run()
    assert (everywhere.code, everywhere.requeued) == (78, False)
    assert "no node of this job is fit: node1,node2." in everywhere.said
    one = script.run(nodes="node5", EXCLUDED="node9")
    assert "lrps: unfit node: node5 only 1 of 2 GPUs answer nvidia-smi\n" in one.said
    assert "scontrol update JobId=7 ExcNodeList=node9,node5\n" in one.calls
    assert "requeued, 2 of 3" in script.run(nodes="node6").said
    assert "requeued, 3 of 3" in script.run(nodes="node7").said
    last = script.run(nodes="node8")
    assert (last.code, last.requeued) == (75, False)


@pytest.mark.parametrize("signal", ["SIGTERM", "TERM", "SIGINT"])
def test_a_signal_that_srun_keeps_for_itself_is_refused(script: Script, signal: str) -> None:
    ended = script.run(LRPS_EXIT_SIGNAL=signal)
    assert (ended.code, ended.calls) == (78, "")
    assert f"LRPS_EXIT_SIGNAL is {signal}, but srun only passes USR1 and USR2 on" in ended.said
    assert script.run(LRPS_EXIT_SIGNAL="USR1").code == 0


def test_a_container_of_the_site_has_a_python_of_its_own(script: Script) -> None:
    def last(**env: str) -> str:
        calls = script.run(LRPS_PYTHON="", LRPS_HOST_PYTHON="/login/venv/bin/python", **env).calls.splitlines()
        return [line for line in calls if "megatron_lrps.pretrain" in line][-1]

    assert "/login/venv/bin/python -m megatron_lrps.pretrain" in last()
    script.site("LRPS_CONTAINER=/images/a.sqsh\n")
    pyxis = last(LRPS_MOUNTS="/data:/data")
    assert "--container-image=/images/a.sqsh --container-mounts=/data:/data --no-container-mount-home" in pyxis
    assert " python3 -m megatron_lrps.pretrain" in pyxis
    script.site("LRPS_CONTAINER=/images/a.sif LRPS_CONTAINER_RUNTIME=apptainer LRPS_PYTHON=/opt/venv/bin/python\n")
    assert (
        "apptainer exec --nv --env PYTHONNOUSERSITE=1 --bind /data:/data /images/a.sif /opt/venv/bin/python -m "
        in last(LRPS_MOUNTS="/data:/data")
    )


def test_a_site_file_need_not_be_strict(script: Script) -> None:
    script.site('[[ $NOT_SET == "" ]] && HELLO=1\n[[ -n $NEITHER_SET ]] && module load cuda\n')
    assert script.run("exit 0").code == 0


def test_a_site_file_that_cannot_be_read_is_refused(script: Script) -> None:
    absent = script.run(LRPS_SITE="/nowhere/site.sh")
    assert (absent.code, absent.calls) == (78, "")
    assert "LRPS_SITE: /nowhere/site.sh is missing or no bash script on " in absent.said
    script.site("if then\n")
    torn = script.run()
    assert (torn.code, torn.calls) == (78, "")
    assert "syntax error" in torn.said


def test_a_promotion_alone_needs_no_number_of_tasks(script: Script) -> None:
    ended = script.run(script="promote", nodes="node1", SLURM_NTASKS="-")
    assert ended.code == 0
    assert "promote v1 on node[1-2], 1 tasks" in ended.said


def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("needs shellcheck: apt install shellcheck")
    files = sorted([*SCRIPTS.glob("*.sbatch"), *SCRIPTS.glob("*.sh")])
    done = subprocess.run(
        [shellcheck, *(f"slurm/{file.name}" for file in files)], cwd=SCRIPTS.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_job_that_was_asked_to_stop_is_not_requeued(script: Script) -> None:
    stopped = json.dumps({"event": "stopped", "reason": "request", "iteration": 7, "exit_code": 75})
    ended = script.run(f"echo '{stopped}' >>{script.events}", "exit 75")
    assert (ended.code, ended.requeued) == (75, False)
    assert "stopped by lrps stop, so it is not requeued" in ended.said


def test_stalls_and_lrps_stop_are_judged_beside_the_ranks_and_no_longer_than_they_run(script: Script) -> None:
    host = script.stand_in("host-python", 'echo "guard $*" >>"$CALLS"; exec sleep 100')
    ended = script.run("sleep 1", LRPS_ALERTS="1", LRPS_HOST_PYTHON=str(host))
    assert ended.code == 0
    assert f"guard -m megatron_lrps.launch.slurm.alert_guard {script.folder}/plan.yaml v1\n" in ended.calls
    assert f"guard -m megatron_lrps.launch.slurm.stop_guard {script.folder}/plan.yaml v1 --on-request\n" in ended.calls
    assert "alert_guard" not in script.run(LRPS_HOST_PYTHON=str(host)).calls
    # A container's Python is not this node's.
    assert "guard" not in script.run("sleep 1", LRPS_ALERTS="1", LRPS_CONTAINER="/images/a.sqsh").calls
