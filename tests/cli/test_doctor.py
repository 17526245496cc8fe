"""`lrps doctor` on the machine that runs the tests."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.cli.app import main
from megatron_lrps.errors import EXIT_REFUSED
from megatron_lrps.launch.doctor import machine
from tests.cli.commands import answer, write
from tests.conftest import Lrps, Result
from tests.training.harness import write_tokens

pytestmark = pytest.mark.training  # it imports Megatron, in a process of its own

ONE_VERSION = [{"name": "v1", "iters": 1000, "train": [[1.0, "data"]]}]


def plan(folder: Path, **keys: Any) -> Path:
    write_tokens(folder / "data", [[1, 2, 3]])
    return write(folder, versions=ONE_VERSION, **{"launch": {"device": "cpu"}} | keys)


@pytest.fixture(scope="module")
def modules() -> dict[str, dict[str, Any]]:
    """What the heavy libraries of this machine are, asked once: importing them takes longer than all else here."""
    return machine._probe()


@pytest.fixture
def doctor(
    modules: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Lrps:
    """`lrps` in this process, where the libraries have been asked."""
    monkeypatch.setattr(machine, "_probe", lambda: modules)

    def run(*args: str | Path, env: Mapping[str, str] | None = None, **_: object) -> Result:
        monkeypatch.setattr("sys.argv", ["lrps", *map(str, args)])
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(ended.value.code if isinstance(ended.value.code, int) else 0, *capsys.readouterr())

    return run


def test_without_a_plan_it_only_tells(lrps: Lrps) -> None:
    text = answer(lrps, "doctor")
    assert "megatron-core" in text
    assert "LACKING" not in text


def test_a_plan_that_can_run_here_is_told_so(tmp_path: Path, doctor: Lrps) -> None:
    file = plan(tmp_path)
    text = answer(doctor, "doctor", file)
    assert "`lrps run` can work here" in text
    facts = json.loads(answer(doctor, "doctor", file, "--json"))
    assert set(facts) == {"machine", "run"}
    assert facts["run"]["fit"] is True
    assert set(facts["machine"][0]) == {"name", "found", "fit", "mend"}


def test_a_plan_that_cannot_run_here_is_refused_with_each_lack(tmp_path: Path, doctor: Lrps) -> None:
    file = plan(tmp_path, launch={"local": {"processes": 4096}}, tokenizer={"type": "tiktoken", "model": "none.json"})
    code, stdout, stderr = doctor("doctor", file)
    assert (code, stderr) == (EXIT_REFUSED, "")
    assert "`lrps run` cannot work here" in stdout
    assert "4096 needed" in stdout
    assert "none.json is not there" in stdout


def test_one_way_is_enough(tmp_path: Path, doctor: Lrps) -> None:
    # Whether Slurm is here or not, the plan can be run.
    launch = {"device": "cpu", "slurm": {"nodes": 2, "gpus_per_node": 2}}
    facts = json.loads(answer(doctor, "doctor", plan(tmp_path, launch=launch), "--json"))
    assert facts["run"]["fit"] is True
    assert set(facts["submit"]) == {"fit", "needs"}


def test_inside_of_a_slurm_job_only_running_counts(tmp_path: Path, doctor: Lrps) -> None:
    # Slurm's commands are all here, but the job's node has not 4096 GPUs, nor InfiniBand that could be seen.
    for name in machine.SLURM:
        (tmp_path / name).touch(mode=0o755)
    file = plan(tmp_path, launch={"slurm": {"nodes": 2, "gpus_per_node": 4096}})
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert doctor("doctor", file, env=env).code == 0
    code, stdout, _ = doctor("doctor", file, env={**env, "SLURM_JOB_ID": "7", "NCCL_IB_DISABLE": "1"})
    assert code == EXIT_REFUSED
    assert "`lrps submit` can work here" in stdout
    assert "4096 needed" in stdout
    assert ", for 2 nodes" in stdout


def test_a_plan_that_is_wrong_is_refused_first(tmp_path: Path, doctor: Lrps) -> None:
    code, stdout, stderr = doctor("doctor", plan(tmp_path, nonsense=1))
    assert (code, stdout) == (EXIT_REFUSED, "")
    assert "nonsense is an unknown key" in stderr
