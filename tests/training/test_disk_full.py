"""The disk fills up in the middle of a save: exit code 74, what was saved is whole, and the run goes on after."""

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.manifest import damaged_contents
from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training

MODES = {
    "sync": "",
    "async": ", async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true",
    "nvrx": ", async-save: true, async-strategy: nvrx, use-persistent-ckpt-worker: true",
}
NO_NVRX = importlib.util.find_spec("nvidia_resiliency_ext") is None
NVRX = pytest.mark.skipif(NO_NVRX, reason="needs nvidia-resiliency-ext 0.6, which not every system's glibc can install")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB; a checkpoint of the tiny model takes about 1.6."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize(
    "mode",
    ["sync", pytest.param("async", marks=pytest.mark.soak), pytest.param("nvrx", marks=[pytest.mark.soak, NVRX])],
)
def test_a_full_disk_loses_nothing(mode: str, disk: Path, tmp_path: Path) -> None:
    extra = MODES[mode]
    whole, plan = (write_campaign(tmp_path / name, extra=extra) for name in ("whole", "full"))
    for file, save in ((whole, "run"), (plan, str(disk / "run"))):
        text = file.read_text().replace("save-interval: 100", "save-interval: 2")
        file.write_text(text.replace("save: run", f"save: {save}"))
    (tmp_path / "full" / "run").symlink_to(disk / "run")
    if mode == "sync":
        ended = train_path(plan, "main")
        assert ended.codes == [78]
        assert "8.0 MiB are free at" in ended.log
        assert "6 saves will take" in ended.log
    ended = train_path(plan, "main", "--lrps-allow", "disk")
    assert ended.codes == [74], ended.log[-3000:]
    assert "No space left on device. It is on tmpfs at " in ended.log
    folder = CampaignFolder(disk / "run").path("main").checkpoints
    complete = Checkpoints.in_folder(folder).complete
    assert complete[:2] == (2, 4)
    assert all(damaged_contents(Checkpoint(folder, iteration).folder) == [] for iteration in complete)

    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    ended = train_path(plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    assert f"resumes from {Checkpoint(folder, complete[-1]).folder}" in ended.log
    assert train_path(whole, "main").codes == [0]
    assert losses(plan, "main") == losses(whole, "main")
    assert sorted(losses(plan, "main")) == list(range(1, 12))
