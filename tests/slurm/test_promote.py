"""Promotions as jobs: a version is released behind its branch, in the order that the gate asks for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.convert.models import write_llama_campaign
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import Submitted
from tests.slurm.test_submit import SAVES_AND_STOPS, python_that

pytestmark = pytest.mark.slurm

GATE = "ppl/a <= 1000 * previous\n"


@pytest.fixture
def promoted(cluster: Cluster, tmp_path: Path) -> Iterator[Submitted]:
    """A llama campaign of two versions on two nodes, to be promoted; its jobs are gone when the test ends."""
    campaign = Submitted(cluster, write_llama_campaign(tmp_path))
    (tmp_path / "gate.txt").write_text(GATE)
    slurm = '{nodes: 2, gpus_per_node: 1, partition: main, time: "00:30:00"}'
    campaign.change("launch: {", f"promote: {{gate: gate.txt, slurm: {{gpus: 0}}}}\nlaunch: {{slurm: {slurm}, ")
    yield campaign
    campaign.close()


def after(campaign: Submitted, job: str) -> list[str]:
    """What a job waits for."""
    said = campaign.cluster.run("squeue", "-h", "-j", job, "-o", "%E")
    return sorted(each.split("(")[0] for each in said.split(","))


def test_a_promotion_waits_for_its_branch_and_for_what_its_gate_compares_with(
    promoted: Submitted, tmp_path: Path
) -> None:
    campaign = promoted
    (tmp_path / "site.sh").write_text(python_that(tmp_path, *SAVES_AND_STOPS))
    campaign.change("{nodes: 2, ", "{nodes: 2, site: site.sh, ")
    dry = campaign.lrps("submit", "--dry-run")
    assert [line for line in dry.stdout.splitlines() if line.startswith("# promotion")] == [
        "# promotion of v1, after v1 until 8",
        "# promotion of v2, after v2 until 14, promotion of v1",
    ]
    (tmp_path / "gate.txt").write_text("ppl/a =< 3\n")
    refused = campaign.lrps("submit")
    assert refused.code == 78
    assert "gate.txt, line 1: 'ppl/a =< 3' is not a condition" in refused.stderr
    assert not campaign.jobs()
    (tmp_path / "gate.txt").write_text(GATE)
    jobs = campaign.submit()
    assert after(campaign, jobs["v1", 0]) == [f"afterok:{jobs['v1', 8]}"]
    assert after(campaign, jobs["v2", 0]) == [f"afterany:{jobs['v1', 0]}", f"afterok:{jobs['v2', 14]}"]
    status = campaign.status()["v2"]["jobs"]
    assert [(job["id"], job["until"]) for job in status] == [(jobs["v2", 14], 14), (jobs["v2", 0], None)]
    assert campaign.submit() == jobs
    # A branch that fails takes its promotion with it; v2's, which only needs v1's to have ended, is not held up.
    campaign.cluster.run("scancel", jobs["v1", 8])
    campaign.ends(jobs["v1", 0], "CANCELLED")
    campaign.cluster.until(
        lambda: after(campaign, jobs["v2", 0]) == [f"afterok:{jobs['v2', 14]}"], "v2's promotion waits for v2 alone"
    )


@pytest.mark.timeout(1500)
def test_a_campaign_ends_with_released_versions(promoted: Submitted) -> None:
    campaign = promoted
    jobs = campaign.submit()
    # Stopped in the middle, as before a time limit: it goes on with the steps that are missing.
    first = jobs["v1", 0]
    campaign.cluster.until(lambda: "exporting v1" in campaign.log("v1"), "v1 is being promoted")
    campaign.cluster.run("scancel", "--batch", "--signal=USR1", first)
    for name in ("v1", "v2"):
        campaign.ends(jobs[name, 0], "COMPLETED")
    assert campaign.restarts(first) == 1
    assert campaign.log("v1").count("lrps: verifying") == 1
    assert {name: path["state"] for name, path in campaign.status().items()} == {
        "main": "trained",
        "v1": "released",
        "v2": "released",
    }
    assert "there is nothing to do" in campaign.lrps("submit").stdout
    record = json.loads((campaign.folder.path("v2").root / "path.json").read_text())
    (said,) = record["released"]["v2"]["gate"]
    assert said.startswith("ppl/a <= 1000 * previous: ")
    assert said.endswith("(v1 has {:.6g}) holds".format(ppl(campaign, "v1")))


def ppl(campaign: Submitted, path: str) -> float:
    found = json.loads((campaign.folder.root / "eval" / path / "results.json").read_text())
    return float(found["perplexity"]["v1-a"]["perplexity"])
