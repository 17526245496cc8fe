"""What gloo lacks and the CPU backend adds, between real ranks."""

from pathlib import Path

import pytest

from tests.training.campaigns import run_ranks

UNEVEN = """
import os, torch
from megatron_lrps.training.cpu.collectives import gathered_unevenly
torch.distributed.init_process_group("gloo")
rank = int(os.environ["RANK"])
for sizes in ((3, 1), (2, 2), (0, 2)):
    own = torch.full((sizes[rank],), float(rank + 1))
    parts = [own if each == rank else torch.empty(size) for each, size in enumerate(sizes)]
    gathered_unevenly(torch.distributed.all_gather)(parts, own)
    print([part.tolist() for part in parts])
"""


@pytest.mark.training
def test_parts_of_different_sizes_are_gathered(tmp_path: Path) -> None:
    ended = run_ranks([], cwd=tmp_path, ranks=2, code=UNEVEN)
    assert ended.codes == [0, 0], ended.log
    found = [line for line in ended.log.splitlines() if line.startswith("[[")]
    assert found == 2 * ["[[1.0, 1.0, 1.0], [2.0]]", "[[1.0, 1.0], [2.0, 2.0]]", "[[], [2.0, 2.0]]"]
