"""A campaign that is submitted to the tests' cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from tests.conftest import Result
from tests.slurm.cluster import Cluster


class Submitted:
    """A plan, and `lrps` on it with the cluster's commands."""

    def __init__(self, cluster: Cluster, plan: Path) -> None:
        self.cluster, self.plan = cluster, plan
        self.folder = CampaignFolder(plan.parent / "run")

    def change(self, before: str, after: str) -> None:
        """Edit the plan."""
        text = self.plan.read_text()
        assert before in text
        self.plan.write_text(text.replace(before, after))

    def site(self, text: str) -> None:
        """Give the plan a site file."""
        (self.plan.parent / "site.sh").write_text(text)
        self.change("nodes: 4, ", "nodes: 4, site: site.sh, ")

    def lrps(self, command: str, *args: str, env: Mapping[str, str] | None = None, check: bool = False) -> Result:
        """``lrps COMMAND PLAN ARGS``; a submit does not ask Megatron first, which takes seconds, but where told to."""
        unchecked = ["--no-check"] if command == "submit" and not check else []
        done = subprocess.run(
            [sys.executable, "-m", "megatron_lrps.cli", command, str(self.plan), *args, *unchecked],
            env={**os.environ, **self.cluster.env, "CUDA_VISIBLE_DEVICES": "", **(env or {})},
            cwd=self.plan.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def submit(self, *args: str) -> dict[tuple[str, int], str]:
        """Submit; the ids of all jobs that the campaign has been given, by path and end; 0 for promotions."""
        done = self.lrps("submit", *args)
        assert done.code == 0, done.stderr
        return self.jobs()

    def jobs(self) -> dict[tuple[str, int], str]:
        """The latest job of each part."""
        file = self.folder.root / "slurm" / "jobs.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return {(line["path"], line["until"] or 0): line["job"] for line in lines if line["event"] == "submitted"}

    def status(self) -> dict[str, dict[str, Any]]:
        """`lrps status --json`, by path."""
        return {path["name"]: path for path in json.loads(self.lrps("status", "--json").stdout)["paths"]}

    def log(self, path: str) -> str:
        """All that a path's jobs have said."""
        return "".join(log.read_text() for log in sorted(self.folder.path(path).logs.glob("slurm-*.log")))

    def rank(self, path: str, rank: int) -> int:
        """The process of a rank that trains a path, as this machine numbers it."""
        wanted = ["-m", "megatron_lrps.pretrain", "--lrps-plan", str(self.folder.plan), "--lrps-path", path]
        found = [
            process
            for process in psutil.process_iter(["cmdline"])
            if [word for word in process.info["cmdline"] or [] if word != "-u"][1:7] == wanted
            and process.environ()["RANK"] == str(rank)
        ]
        return min(found, key=psutil.Process.create_time).pid  # the others are its forks

    def restarts(self, job: str) -> int:
        """How often a job was requeued."""
        return int(self.cluster.run("scontrol", "show", "job", job).split("Restarts=")[1].split()[0])

    def at(self, path: str, iteration: int) -> None:
        """Wait until the path's ranks have reported an iteration."""
        text = f" iteration {iteration:8d}/"
        self.cluster.until(lambda: text in self.log(path), f"{path} at iteration {iteration}")

    def starts(self, path: str) -> int:
        """How often the path's ranks have begun to train."""
        return sum(event["event"] == "started" for event in events(self.folder.path(path)))

    def started(self, path: str, times: int) -> None:
        """Wait until the path's ranks have begun to train for so many times in all."""
        self.cluster.until(lambda: self.starts(path) >= times, f"start {times} of {path}")

    def ends(self, job: str, state: str, seconds: float = 400) -> None:
        """Wait until a job ends, and that as it is to; else show what its path said last."""
        states = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.cluster.until(lambda: self.cluster.state(job) in states, f"job {job} ends", seconds)
        path = next((key[0] for key, number in self.jobs().items() if number == job), "")
        assert self.cluster.state(job) == state, self.log(path)[-4000:] if path else ""

    def close(self) -> None:
        """Cancel what is left, and wait for nodes that were set down."""
        if jobs := list(self.jobs().values()):
            self.cluster.run("scancel", "--signal=KILL", "--full", *jobs, check=False)
            self.cluster.run("scancel", *jobs, check=False)
        self.cluster.run("scontrol", "update", "nodename=ALL", "state=resume", check=False)
        self.cluster.until(lambda: self.cluster.idle() == len(self.cluster.nodes), "all nodes are idle again")
