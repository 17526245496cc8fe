"""A campaign's record of jobs, and which of them wait in vain."""

import json
import stat
from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.launch.slurm.job_history import active, followers, recorded


def test_lines_of_the_record_that_lrps_did_not_write_are_left_out(tmp_path: Path) -> None:
    good = '{"event": "submitted", "job": "12", "name": "n", "path": "main", "until": 4}'
    bad = [good.replace('"12"', value) for value in ("12", '"12;rm"', "null")] + [good.replace("4}", '"4"}'), "torn {"]
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.jsonl").write_text("\n".join([*bad, good, '{"event": "released", "jobs": ["12"]}']))
    (job,) = recorded(CampaignFolder(tmp_path))
    assert (job.id, job.key, job.released) == ("12", ("main", 4), True)


QUEUE = """\
10|CANCELLED|None|lrps-c-main-400
11|PENDING|Dependency|lrps-c-main-1400
12|PENDING|DependencyNeverSatisfied|lrps-c-v1-1000
13|PENDING|Dependency|lrps-c-v2-2000
14|COMPLETED|None|lrps-c-main-400
15|PENDING|Resources|lrps-c-v1-1000
17|PENDING|Dependency|lrps-c-w-1000
18|PENDING|Priority|lrps-c-x-1000
19|COMPLETING|None|lrps-c-y-1000
20|PENDING|Dependency|lrps-c-z-1000
"""
JOBS = [(10, "main", 400, None), (11, "main", 1400, 10), (12, "v1", 1000, 10), (13, "v2", 2000, 11)]
"""Job, path, until, and the job that it follows; Slurm has forgotten 16."""
MORE = [(14, "main", 400, None), (15, "v1", 1000, 14), (16, "w", 400, None), (17, "w", 1000, 16), (18, "x", 1000, 16)]
LATE = [(19, "y", 1000, None), (20, "z", 1000, 19)]


def queue(folder: Path, *extra: str, jobs: list[tuple[int, str, int, int | None]]) -> CampaignFolder:
    """A campaign's record of jobs, and a stand-in for squeue that says QUEUE."""
    lines = [
        {"event": "submitted", "job": str(number), "name": f"lrps-c-{path}-{until}", "path": path, "until": until,
         "after": str(after) if after else None}
        for number, path, until, after in jobs
    ]  # fmt: skip
    (folder / "slurm").mkdir()
    (folder / "slurm" / "jobs.jsonl").write_text("\n".join([*map(json.dumps, lines), *extra]) + "\n")
    (folder / "squeue").write_text(f"#!/bin/bash\ncat <<'END'\n{QUEUE}END\n")
    (folder / "squeue").chmod(stat.S_IRWXU)
    return CampaignFolder(folder)


def test_a_job_behind_one_that_ended_badly_waits_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    campaign = queue(tmp_path, jobs=[*JOBS, *MORE])
    assert {job.id: state.in_vain for job, state in active(campaign).values()} == {
        "11": True,
        "13": True,  # behind 11
        "15": False,  # 12 did the same, and is the older
        "17": True,  # still waits for a job that Slurm has forgotten
        "18": False,
    }


def test_a_job_that_lrps_has_cancelled_is_gone_though_slurm_still_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    campaign = queue(tmp_path, '{"event": "cancelled", "jobs": ["19"]}', jobs=LATE)
    assert {job.id: state.in_vain for job, state in active(campaign).values()} == {"20": True}


def test_what_follows_cancelled_jobs_is_found_over_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = active(queue(tmp_path, jobs=[*JOBS, *LATE]))
    assert [job.id for job in followers(found, {"10"})] == ["11", "12", "13"]
    assert [job.id for job in followers(found, {"11"})] == ["13"]
    assert [job.id for job in followers(found, {"13"})] == []
