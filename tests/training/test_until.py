"""`--lrps-until`: a path trained in parts, each ending with a save and exit code 0, is the path trained at once."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.errors import RefusedError
from megatron_lrps.training.arguments import own_arguments, planned
from tests.training.campaigns import losses, train_path, write_campaign

ASYNC = ", async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true"


@pytest.mark.training
def test_a_path_in_parts_is_the_path_at_once(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = write_campaign(tmp_path / "whole"), write_campaign(tmp_path / "parts", extra=ASYNC)
    assert train_path(whole, "main").codes == [0]

    main = CampaignFolder(tmp_path / "parts" / "run").path("main")
    for until, saved in ((4, (4,)), (6, (4, 6)), (11, (4, 6, 11))):  # 6 is no fork point: the part's end saves it
        part = train_path(parts, "main", "--lrps-until", str(until))
        assert part.codes == [0], part.log[-3000:]
        assert Checkpoints.in_folder(main.checkpoints).complete == saved
    assert losses(parts, "main") == losses(whole, "main")
    assert [each["reason"] for each in events(main) if each["event"] == "stopped"] == ["until", "until"]
    # What follows a part may start at once, so its end is on disk before it is called so.
    ends = [(each["event"], each["iteration"]) for each in events(main) if each["event"] in ("saved", "stopped")]
    assert ends == [("saved", 4), ("stopped", 4), ("saved", 6), ("stopped", 6), ("saved", 11)]
    assert [each["iteration"] for each in events(main) if each["event"] == "done"] == [11]

    again = train_path(parts, "main", "--lrps-until", "6")
    assert again.codes == [0]
    assert "main is trained to iteration 6; nothing to do" in again.log


@pytest.mark.parametrize(("path", "until"), [("main", 12), ("main", 0), ("v1", 4)])
def test_a_part_outside_of_the_path_is_refused(path: str, until: int, tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    own = own_arguments(["--lrps-plan", str(plan), "--lrps-path", path, "--lrps-until", str(until)])
    with pytest.raises(RefusedError, match=f"--lrps-until {until} is outside path {path}, which trains"):
        planned(own)


def test_a_part_without_a_plan_is_refused() -> None:
    with pytest.raises(RefusedError, match="--lrps-until 4 is given without a plan"):
        planned(own_arguments(["--lrps-until", "4"]))
