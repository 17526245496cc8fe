"""The table of executors, and what the command line asks all of them."""

from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.launch import executor
from megatron_lrps.launch.executor import EXECUTORS, jobs_of
from megatron_lrps.launch.local.local_executor import LocalExecutor
from tests.plan.plans import plan_of


class Third(LocalExecutor):
    """An executor that has given a campaign one job."""

    def jobs(self, folder: CampaignFolder) -> dict[str, list[dict[str, Any]]]:
        return {"main": [{"id": "third"}]}


def test_each_executor_is_named_after_its_key_of_the_plan() -> None:
    assert set(EXECUTORS) <= set(type(plan_of().launch).model_fields)


def test_a_campaign_without_jobs_has_none(tmp_path: Path) -> None:
    assert jobs_of(CampaignFolder(tmp_path)) is None


def test_a_third_executor_is_a_line_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "EXECUTORS", {**EXECUTORS, "third": Third()})
    assert jobs_of(CampaignFolder(tmp_path)) == {"main": [{"id": "third"}]}
