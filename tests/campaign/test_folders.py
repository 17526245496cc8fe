"""The campaign's folder: its layout."""

from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder


def test_layout() -> None:
    campaign = CampaignFolder(Path("/runs/c"))
    path = campaign.path("v1")
    assert [
        campaign.plan,
        campaign.report,
        campaign.tensorboard("v1"),
        path.checkpoints,
        path.record,
        path.events,
        path.logs,
    ] == [
        Path("/runs/c/plan.yaml"),
        Path("/runs/c/report"),
        Path("/runs/c/tensorboard/v1"),
        Path("/runs/c/paths/v1/checkpoints"),
        Path("/runs/c/paths/v1/path.json"),
        Path("/runs/c/paths/v1/events.jsonl"),
        Path("/runs/c/paths/v1/logs"),
    ]
