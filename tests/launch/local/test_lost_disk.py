"""The campaign's file system goes away while `lrps run` trains on it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


@pytest.fixture
def mounted(campaign: TinyCampaign) -> Iterator[Path]:
    """The campaign's folder, on a file system of its own."""
    place = campaign.plan.parent / "runs"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def test_a_file_system_that_goes_away_ends_the_run_in_plain_words(campaign: TinyCampaign, mounted: Path) -> None:
    executor = campaign.start("--path", "main", mode="hang")
    campaign.wait_for("main", 7)
    subprocess.run(["umount", "-l", mounted], check=True)
    _, stderr = executor.communicate(timeout=60)
    assert executor.returncode == 74, stderr
    assert stderr.startswith("lrps: path main was ended at iteration ")
    assert "can no longer be read: No such file or directory. Fix: see whether the file system of " in stderr
    assert f"{mounted} is mounted" in stderr
    assert not campaign.processes()
