"""A campaign of merged versions on a real cluster: what waits for what, and that both versions are made."""

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.record import read_record
from tests.slurm.submitted import Submitted

pytestmark = pytest.mark.slurm


def test_each_merge_waits_for_main_at_its_end_and_is_made(submitted: Submitted) -> None:
    submitted.change("tokenizer:", "merge: {window: 0.5, checkpoints: 2}\ntokenizer:")
    jobs = submitted.submit()
    assert set(jobs) == {("main", 8), ("main", 14), ("v1", 8), ("v2", 14)}
    asked = submitted.cluster.run("squeue", "-h", "-j", jobs["v1", 8], "-o", "%E %D").split()
    assert asked[0].split("(")[0] == f"afterok:{jobs['main', 8]}"
    assert asked[1] == "1"  # one node, whatever trains main
    for version, end, parts in (("v1", 8, [6, 8]), ("v2", 14, [11, 14])):
        submitted.ends(jobs[version, end], "COMPLETED")
        folder = Campaign.open(submitted.plan).folder.path(version)
        assert Checkpoint(folder.checkpoints, end).is_whole
        record = read_record(folder)
        assert record is not None
        assert [part["iteration"] for part in record["mean"]] == parts
    assert {name: path["state"] for name, path in submitted.status().items()} == dict.fromkeys(
        ("main", "v1", "v2"), "trained"
    )
