"""Damaged and hostile checkpoints, with real training: skipped by name, refused by name, never executed."""

import os
import pickle
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.manifest import MANIFEST, damaged_contents
from tests.conftest import Lrps
from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose main path is trained, with checkpoints at 4 (v1's fork point), 8, 11."""
    plan = write_campaign(tmp_path_factory.mktemp("damage"))
    plan.write_text(plan.read_text().replace("save-interval: 100", "save-interval: 4"))
    assert train_path(plan, "main").codes == [0]
    return plan


def saved(plan: Path, path: str, iteration: int) -> Path:
    return Checkpoint(CampaignFolder(plan.parent / "run").path(path).checkpoints, iteration).folder


def flip(file: Path) -> bytes:
    """Flip one bit in the middle; returns what was there."""
    content = file.read_bytes()
    at = len(content) // 2
    file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    return content


def test_a_resume_skips_a_damaged_checkpoint_and_says_so(plan: Path, lrps: Lrps) -> None:
    before = losses(plan, "main")
    newest = saved(plan, "main", 11)
    flip(newest / "__0_0.distcp")
    code, stdout, stderr = lrps("verify", plan)
    assert code == 74
    assert "main 11: damaged: __0_0.distcp has other content than it was saved with" in stdout
    assert "main 8: whole" in stdout
    assert "1 of 3 checkpoints are not as they were saved" in stderr
    ended = train_path(plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    assert "checkpoint 11 in" in ended.log
    assert "is left alone and not used: __0_0.distcp has other content than it was saved with." in ended.log
    assert f"main resumes from {saved(plan, 'main', 8)} and ends at iteration 11." in ended.log
    assert losses(plan, "main") == before
    assert damaged_contents(newest) == []  # saved anew
    assert lrps("verify", plan)[0] == 0


def test_damage_that_is_found_while_the_model_is_built_is_skipped_too(plan: Path, tmp_path: Path) -> None:
    other = write_campaign(tmp_path)
    other.write_text(plan.read_text())
    assert train_path(other, "main", "--exit-interval", "8").codes == [75]
    flip(saved(other, "main", 8) / "__0_0.distcp")
    ended = train_path(other, "main")
    assert ended.codes == [0], ended.log[-3000:]
    first, last = (ended.log.index(f"main resumes from {saved(other, 'main', at)}") for at in (8, 4))
    assert first < ended.log.index("checkpoint 8 in") < last
    assert losses(other, "main") == losses(plan, "main")


def test_a_damaged_fork_point_is_refused(plan: Path) -> None:
    file = saved(plan, "main", 4) / ".metadata"
    whole = flip(file)
    try:
        ended = train_path(plan, "v1")
    finally:
        file.write_bytes(whole)
    assert ended.codes == [78]
    assert f"The fork point {file.parent} is damaged: .metadata has other content" in ended.log


class Call:
    """Unpickled, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


def test_a_hostile_checkpoint_is_never_executed(plan: Path, lrps: Lrps, tmp_path: Path) -> None:
    fork, trace = saved(plan, "main", 4), tmp_path / "executed"
    kept = {name: (fork / name).read_bytes() for name in (".metadata", MANIFEST)}
    (fork / ".metadata").write_bytes(pickle.dumps(Call(trace)))
    (fork / MANIFEST).unlink()  # whoever can write a checkpoint can write its manifest too
    try:
        for command in (["status"], ["tree"], ["verify"], ["gc"], ["plan"]):
            assert lrps(*command, plan)[0] == 0
        code, _, stderr = lrps("run", plan, "--path", "v1", env={"CUDA_VISIBLE_DEVICES": ""})
    finally:
        for name, content in kept.items():
            (fork / name).write_bytes(content)
    assert code == 78
    assert "system, which no checkpoint needs" in stderr
    assert not trace.exists()
