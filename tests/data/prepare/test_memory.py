"""A large input in little memory: summed over all processes, shared pages counted once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_lrps.data.index_reader import index_facts
from tests.data.prepare import tokenizers_of
from tests.data.prepare.jobs import write_plan
from tests.data.prepare.tokenizers_of import TEXTS

GIB = 2**30
INPUT_BYTES = 5 * GIB


def tree(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [pid, *(each for child in map(int, found) for each in tree(child))]


def proportional_bytes(pid: int) -> int:
    """PSS: pages that several processes share count in part in each."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


@pytest.mark.soak
def test_five_gib_in_less_than_one(tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)
    if space.f_bavail * space.f_frsize < 4 * INPUT_BYTES:
        pytest.skip("needs 20 GiB of disk")
    documents = [text[begin : begin + 4000] for text in TEXTS for begin in range(0, len(text), 4000)]
    written = lines = 0
    with (tmp_path / "a.jsonl").open("wb") as file:
        while written < INPUT_BYTES:
            line = json.dumps({"n": lines, "text": f"{lines} {documents[lines % len(documents)]}"}).encode() + b"\n"
            written += file.write(line)
            lines += 1
    plan = write_plan(tmp_path, tokenizers_of.huggingface(tmp_path), {"data/a": "a.jsonl"})
    command = [sys.executable, "-m", "megatron_lrps.cli", "prepare", str(plan), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, tree(process.pid))))
        time.sleep(0.1)
    assert process.returncode == 0, process.communicate()[0]
    print(f"peak {peak / GIB:.2f} GiB for {written / GIB:.2f} GiB of text")
    assert index_facts(tmp_path / "data" / "a").documents == lines
    assert 0.05 * GIB < peak < GIB
