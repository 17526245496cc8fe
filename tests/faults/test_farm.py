"""The farm's own judgement, and that its page says what was recorded. The farm itself is `make soak`."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import COMMANDS
from tests.faults.fault import COMMAND, IN_A_ROW, KILLED, NODES_FROM, PHASES, Fault
from tests.faults.machine import CODES, NODES
from tests.faults.page import PAGE, held, page, read_results
from tests.faults.partition import CUT
from tests.faults.shim import Shim, has_compiler
from tests.faults.strike import judge

WHOLE = {"main": {step: 1.0 / step for step in range(1, 41)}}


def test_a_number_draws_the_same_fault_for_ever_and_all_kinds_come() -> None:
    assert Fault.drawn(75) == Fault(75, "DP2", "sync", "the network", "finishing", 0.02329938729930064)  # on record
    faults = [Fault.drawn(number) for number in range(1000)]
    cells = Counter((fault.layout, fault.save) for fault in faults)
    assert len(cells) == 7
    assert min(cells.values()) >= 140
    assert {fault.target for fault in faults} == {*KILLED, *CODES, *COMMANDS}
    assert {fault.target for fault in faults if fault.layout == COMMAND} == set(COMMANDS)
    assert all(fault.save == "async" for fault in faults if fault.target in ("writer", "fork server"))
    assert len({fault.layout for fault in faults[:IN_A_ROW]}) == 1  # one campaign has time to end
    nodes = [Fault.drawn(NODES_FROM + number) for number in range(100)]
    assert {fault.target for fault in nodes} == {*NODES}
    assert {fault.phase for fault in nodes} == {*PHASES}
    assert len({(fault.layout, fault.save) for fault in nodes}) == 6


@pytest.mark.skipif(not has_compiler(), reason="needs cc")
def test_faults_of_the_disk_hit_checkpoints_alone_and_the_clock_is_off_while_armed(tmp_path: Path) -> None:
    shim = Shim.compiled(tmp_path / "work", tmp_path)
    checkpoint, other = tmp_path / "checkpoints" / "iter_0000001", tmp_path / "log"
    checkpoint.parent.mkdir()

    def written(file: Path) -> list[str]:
        """What one write of ten bytes and the clock give."""
        code = (
            "import sys, time\n"
            "try: print(open(sys.argv[1], 'wb', buffering=0).write(b'x' * 10))\n"
            "except OSError as error: print(error.strerror)\n"
            "print(round(time.time() - float(sys.argv[2]), -3))"
        )
        command = [sys.executable, "-c", code, str(file), str(time.time())]
        return subprocess.run(
            command, env={**os.environ, **shim.environment}, capture_output=True, text=True, check=True
        ).stdout.split("\n")[:2]

    def called(call: str) -> str:
        """How a call ends."""
        code = f"import os\ntry: {call}\nexcept OSError as error: print(error.strerror)\nelse: print('fine')"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **shim.environment}, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert written(checkpoint) == ["10", "0.0"]
    for kind, said in (("EIO", "Input/output error"), ("ENOSPC", "No space left on device"), ("short writes", "5")):
        shim.arm(kind)
        assert (written(checkpoint)[0], written(other)[0]) == (said, "10")
    folder = tmp_path / "checkpoints"
    for kind, said in (("EIO of fsync", "Input/output error"), ("EDQUOT of fsync", "Disk quota exceeded")):
        shim.arm(kind)
        assert called(f"os.fsync(os.open({str(folder / 'iter')!r}, os.O_CREAT | os.O_WRONLY))") == said
        assert called("os.fsync(os.open(__import__('tempfile').mkstemp()[1], os.O_WRONLY))") == "fine"
    shim.arm("ESTALE of rename")
    assert called(f"os.rename({str(folder / 'iter')!r}, {str(folder / 'other')!r})") == "Stale file handle"
    shim.arm("a day earlier")
    assert written(checkpoint) == ["10", "-86000.0"]
    shim.disarm()
    assert written(checkpoint) == ["10", "0.0"]


@pytest.mark.parametrize(
    ("losses", "saved", "positions", "output", "found"),
    [
        ({"main": {1: 1.0, 2: 0.5}}, {}, {"main": 0}, "", {"lost": 2}),
        ({"main": {1: 1.0, 2: 0.5}}, {"main": 2}, {"main": 2}, "", {}),
        ({"main": {2: 0.5000001}}, {}, {"main": 2}, "", {"equal": False}),
        ({"main": {7: 1 / 7}}, {"main": 5}, {"main": 0}, "", {"kept": False, "lost": 7}),
        ({}, {}, {"main": 0}, "lrps: x\nTraceback (most recent call last):\n", {"traceback": True}),
    ],
)
def test_what_must_hold_is_judged(
    losses: dict[str, dict[int, float]],
    saved: dict[str, int],
    positions: dict[str, int],
    output: str,
    found: dict[str, Any],
) -> None:
    right = {"lost": 0, "kept": True, "equal": True, "traceback": False}
    assert judge(WHOLE, losses, saved, positions, output) == right | found


def result(**changed: Any) -> dict[str, Any]:
    right = {"number": 3, "layout": "TP2", "save": "sync", "target": "rank", "doing": "saving", "ended": 2.0, "left": 0}
    return {**right, "lost": 4, "kept": True, "equal": True, "traceback": False, **changed}


def test_the_page_counts_and_names_what_did_not_hold() -> None:
    text = page([result(), result(lost=9), result(number=8, ended=None, equal_at_the_end=False)])
    assert "**3 faults, 2 of them as above**. Campaigns that came to their end: 1, and 0 of them digit-equal" in text
    assert "| rank | 3 | 2 | 9 | never |" in text
    assert "| 8 | rank | saving | another loss, it did not end |" in text
    assert "| 8 | node | saving | its job was not requeued |" in page([result(number=8, target="node", ended=None)])
    assert [held(result(**{key: value})) for key, value in (("left", 1), ("traceback", True), ("kept", False))] == [
        False,
        False,
        False,
    ]


def test_a_fault_of_the_disk_has_its_exit_code_and_a_clock_raises_no_alarm() -> None:
    assert held(result(target="EIO", code=74, alarm=False))
    assert not held(result(target="EIO", code=1, alarm=False))
    assert not held(result(target="a day later", code=75, alarm=True))
    assert held(result(target=CUT, code=75, alarm=True))
    assert not held(result(target=CUT, code=1, alarm=False))
    assert held(result(target=CUT, doing="finishing", code=1, alarm=False))
    text = page([result(target="a day later", code=0, alarm=True), result(layout="command", target="lrps gc")])
    assert "| 3 | a day later | saving | a stall was told, exit code 0 |" in text
    assert "| lrps gc | 1 | 1 |" in text


def test_the_page_is_that_of_the_recorded_results() -> None:
    assert PAGE.read_text("utf-8") == page(read_results())
