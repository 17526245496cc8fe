"""`lrps init`: a plan that is accepted at once, from four answers, flags or what lies in raw/."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plan.json_schema import is_valid

from megatron_lrps.errors import EXIT_REFUSED
from megatron_lrps.plan import Plan, load_plan
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.load import load_yaml
from tests.cli.commands import answer, refusal
from tests.conftest import Lrps


@pytest.fixture(autouse=True)
def nvidia_smi(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tool as it is on a machine without GPUs, whatever this one has."""
    tool = tmp_path_factory.mktemp("bin") / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tool


def lay(file: Path, kilobytes: float) -> Path:
    """Text of so many thousand bytes, no document twice."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        number = 0
        while stream.tell() < kilobytes * 1000:
            number += 1
            text = f"Document {number} of {file.name} says that {number} times {number} is {number * number}. "
            stream.write(json.dumps({"text": text * 4}) + "\n" if file.suffix == ".jsonl" else f"{text * 4}\n\n")
    return file


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """raw/ with two versions' text and a held-out file."""
    lay(tmp_path / "raw/v1.jsonl", 700)
    lay(tmp_path / "raw/v2/a.jsonl", 200)
    lay(tmp_path / "raw/v2/b.jsonl", 200)
    lay(tmp_path / "raw/valid.txt", 20)
    return tmp_path


def plan_in(folder: Path) -> Plan:
    return load_plan(folder / "plan.yaml")


def files(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Index -> the text that it is made from, from the plan's folder on where it lies in there."""
    return {
        within(prefix, plan.base): tuple(within(file, plan.base) for file in source.files)
        for version in plan.versions
        for prefix, source in version.sources.items()
    }


def test_without_a_terminal_it_takes_what_lies_in_raw(raw: Path, lrps: Lrps) -> None:
    code, out, err = lrps("init", "--name", "mine", timeout=60)
    assert (code, err) == (0, "")
    assert (
        "plan.yaml: campaign mine with v1, v2. This machine has no GPU, so Megatron's own code runs on the CPU" in out
    )
    plan = plan_in(raw)
    assert files(plan) == {"data/v1": ("raw/v1.jsonl",), "data/valid": ("raw/valid.txt",), "data/v2": ("raw/v2",)}
    assert plan.launch.device == "cpu"
    # 400 kB of v2 are some 133,333 tokens: 130 iterations of 1,024
    assert [version.iters for version in plan.versions] in ([130, 130], [131, 131])
    schema = json.loads((raw / "plan.schema.json").read_text())
    assert is_valid(load_yaml(raw / "plan.yaml", "plan"), schema)
    assert "v2    main" in answer(lrps, "plan", "plan.yaml")


def test_flags_say_everything(tmp_path: Path, lrps: Lrps) -> None:
    lay(tmp_path / "else where/v1.jsonl", 3000)
    lay(tmp_path / "first/~mine/$a.txt", 3000)
    lay(tmp_path / "first/mine/held/out.jsonl", 30)
    given = [
        "--text",
        "else where/*.jsonl",
        "--text",
        "$HERE/first/~mine/$$a.txt",
        "--valid",
        "first/mine/held/out.jsonl",
    ]
    done = lrps(
        "init", "first", *given, "--tokens", "500k", "--device", "gpu", "--size", "tiny", env={"HERE": str(tmp_path)}
    )
    assert done.code == 0, done.stderr
    plan = plan_in(tmp_path / "first")
    assert plan.campaign == "first"
    assert files(plan) == {
        "data/v1": (f"{tmp_path}/else where/*.jsonl",),  # not below the plan's folder: named in full
        "data/valid": ("mine/held/out.jsonl",),
        "data/v2": ("~mine/$a.txt",),
    }
    assert [version.tokens for version in plan.versions] == [500_000] * 2
    assert plan.versions[1].sources[tmp_path / "first/data/v2"].documents == "paragraph"
    assert plan.launch.device == "gpu"
    assert "`gpu` was asked for" in (tmp_path / "first/plan.yaml").read_text()


def test_where_there_are_gpus_it_says_so(raw: Path, lrps: Lrps, nvidia_smi: Path) -> None:
    nvidia_smi.write_text('#!/bin/sh\nfor n in 0 1 2; do echo "GPU $n: NVIDIA H100 (UUID: GPU-$n)"; done\n')
    assert "This machine has 3 GPUs." in answer(lrps, "init", "--size", "tiny")
    assert (plan_in(raw).launch.device, plan_in(raw).launch.local.processes) == ("gpu", 2)  # 2 divides the batch


def test_a_size_for_gpus_says_where_it_is_to_run(raw: Path, lrps: Lrps) -> None:
    lay(raw / "raw/v1.jsonl", 12_000)
    text = ["--text", "raw/v1.jsonl", "--size", "125m"]
    assert "The size 125m is for GPUs, and this machine has none" in answer(lrps, "init", *text)
    assert plan_in(raw).launch.device == "gpu"


def test_nothing_is_overwritten(raw: Path, lrps: Lrps) -> None:
    (raw / "plan.yaml").write_text("mine\n")
    assert "plan.yaml exists already" in refusal(lrps, "init")
    assert (raw / "plan.yaml").read_text() == "mine\n"
    (raw / "plan.yaml").unlink()
    (raw / "plan.schema.json").write_text("{}\n")
    assert "plan.schema.json exists already, and another version of lrps wrote it" in refusal(lrps, "init")
    assert not (raw / "plan.yaml").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--valid", "raw/v2/b.jsonl"], "raw/v2/b.jsonl is among the text to train on"),
        (["--text", "raw/*.jsonl", "--text", "raw/v1.jsonl"], "raw/v1.jsonl would be trained on in v1 and in v2"),
        (["--text", "raw/v9"], "raw/v9 names no file of text"),
        (["--text", "raw"], "several kinds"),
        (["--text", ""], "'' is not a file path"),
        (["--valid", " "], "' ' is not a file path"),
        (["--text", "s3://bucket/v1"], "'s3://bucket/v1' is an address"),
        (["--text", "$LRPS_NOT_SET/v1"], "names the environment variable LRPS_NOT_SET, which is not set"),
        (["--iters", "5000"], "it would be read more than 4 times"),
        (["--iters", "5"], "5 is 5 iterations of 1,024 tokens, and a version has 20 at least"),
        (["--tokens", "lots"], "'lots tokens' is not a count"),
        (["--iters", "50", "--tokens", "1M"], "--iters 50 and --tokens 1M are both given"),
        (["--size", "70b"], "There is no size '70b'"),
        (["--size", "125m"], "not given, and there is no terminal to ask at"),  # too little text for 20 iterations
        (["--device", "tpu"], "--device 'tpu' is unknown"),
        (["--name", "a/b"], "--name 'a/b' is not a plain file name"),
    ],
)
def test_what_cannot_be_is_refused(raw: Path, lrps: Lrps, given: list[str], said: str) -> None:
    assert said in refusal(lrps, "init", *given)
    assert not (raw / "plan.yaml").exists()
    assert not (raw / "plan.schema.json").exists()


def test_without_text_and_a_terminal_it_does_not_wait(tmp_path: Path, lrps: Lrps) -> None:
    assert "give --text, once for each version" in refusal(lrps, "init")
    lay(tmp_path / "raw/v1.jsonl", 100)
    assert "give --valid, a file, folder or glob of text that is not trained on" in refusal(lrps, "init")
    lay(tmp_path / "raw/valid.jsonl", 0.1)
    assert "raw/valid.jsonl has" in refusal(lrps, "init")


def typed(folder: Path, lines: list[str]) -> tuple[int, str]:
    """How it ends and what it says when these lines are typed at a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "megatron_lrps.cli", "init"]
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, "".join(f"{line}\n" for line in lines).encode())
        said, ends = b"", time.monotonic() + 120
        while time.monotonic() < ends:
            try:
                said += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        os.close(ours)
    return process.returncode, said.decode().replace("\r\n", "\n")


def test_at_a_terminal_it_asks_four_questions_and_again_after_a_wrong_answer(raw: Path) -> None:
    code, said = typed(raw, ["", "raw/v1.jsonl", "", "", "2B tokens", "50"])
    assert code == 0, said
    questions = ("Text to train on", "Text to validate on", "Size of the model", "Length of each version")
    assert [said.count(question) for question in questions] == [1, 2, 1, 2]
    assert "is among the text to train on" in said
    assert "it would be read more than 4 times" in said
    plan = plan_in(raw)
    assert [version.iters for version in plan.versions] == [50, 50]
    assert files(plan)["data/valid"] == ("raw/valid.txt",)


def test_an_end_of_input_writes_nothing(raw: Path) -> None:
    code, said = typed(raw, ["", "", "\x04"])
    assert code == 1
    assert "Aborted" in said
    assert not (raw / "plan.yaml").exists()
    assert code != EXIT_REFUSED


@pytest.mark.training
def test_its_plan_trains_as_it_stands(tmp_path: Path, run_lrps: Lrps) -> None:
    lay(tmp_path / "raw/v1.jsonl", 300)
    lay(tmp_path / "raw/valid.txt", 20)
    for command in (["init", "--iters", "20"], ["prepare", "plan.yaml"], ["run", "plan.yaml"]):
        code, out, err = run_lrps(*command, cwd=tmp_path)
        assert code == 0, f"{command}: {out}\n{err}"
    assert json.loads(run_lrps("status", "plan.yaml", "--json", cwd=tmp_path).stdout)["iterations_left"] == 0
