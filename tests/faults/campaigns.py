"""The campaigns that the farm breaks: real ranks, and the processes of a run by what they are."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.activity import FILE
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.monitor.scalars import read_scalars
from tests.training.campaigns import write_campaign

LAYOUTS = {
    "TP2": ", tensor-model-parallel-size: 2",
    "PP2": ", pipeline-model-parallel-size: 2",
    "DP2": "",
}
"""Two ranks each; all with Megatron's distributed optimizer."""
SAVES = {
    "sync": "",
    "async": ", async-save: true, async-strategy: mcore, use-persistent-ckpt-worker: true",
}
INTERVAL = 5
ALERTS = "alerts: {stall_least: 40, stall_pause: 240, stall_ends: true}\n"
"""Ranks that hang are ended within minutes."""
PATHS = ("main", "v1")
"""Main trains 40 iterations and v1 40 more; both evaluate every tenth one, and save every fifth."""
_PROC = Path("/proc")


@dataclass(frozen=True)
class Broken:
    """A campaign that faults are tried on.

    Attributes:
        layout: A key of ``LAYOUTS``.
        save: A key of ``SAVES``.
        plan: Its plan, in a folder of its own.
    """

    layout: str
    save: str
    plan: Path

    @classmethod
    def made(cls, folder: Path, layout: str, save: str) -> "Broken":
        """Return the campaign in a folder, where it is made if it is not there."""
        plan = folder / "plan.yaml"
        if not plan.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            made = write_campaign(folder, extra=LAYOUTS[layout] + SAVES[save], processes=2)
            lines = [line for line in made.read_text().splitlines() if "name: v2" not in line]
            text = "\n".join(lines).replace("iters: 8", "iters: 80").replace("eval-interval: 100", "eval-interval: 10")
            text = text.replace("save-interval: 100", f"save-interval: {INTERVAL}")
            made.write_text(f"{text}\n{ALERTS}")
        return cls(layout, save, plan)

    def start(self, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """``lrps run``, with variables to add to this process's, and started by another command if one is given."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "megatron_lrps.cli", "run", str(self.plan)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def losses(self) -> dict[str, dict[int, float]]:
        """Path -> iteration -> loss, of all that has been logged."""
        folder = self.plan.parent / "run" / "tensorboard"
        return {path: dict(read_scalars(folder / path, "lm loss")) for path in PATHS if (folder / path).is_dir()}

    def doing(self, since: float) -> str:
        """What the ranks of the path that is in training report; nothing if they have not, since that time.

        A branch's first start is ``forking``, until it trains.
        """
        try:
            times = {file.stat().st_mtime: file for file in self.plan.parent.glob(f"run/paths/*/{FILE}")}
            newest = max(times, default=0.0)
            if newest <= since:
                return ""
            what, path = str(json.loads(times[newest].read_text())["what"]), times[newest].parent.name
        except (OSError, ValueError, KeyError):
            return ""
        begins = what in ("starting", "reading", "loading") and path != PATHS[0]
        return "forking" if begins and path not in self.saved() else what

    def alarms(self) -> int:
        """The number of stalls that have been told."""
        folders = [CampaignFolder(self.plan.parent / "run").path(path) for path in PATHS]
        return sum(event.get("kind") == "stall" for folder in folders for event in events(folder))

    def saved(self) -> dict[str, int]:
        """Path -> newest whole checkpoint."""
        found = {}
        for path in PATHS:
            folder = self.plan.parent / "run" / "paths" / path / "checkpoints"
            if (newest := Checkpoints.in_folder(folder).newest) is not None:
                found[path] = newest
        return found

    def positions(self) -> dict[str, int]:
        """Path -> the iteration that its next start continues from."""
        campaign = Campaign.open(self.plan)
        return {path.name: standing_of(campaign, path).position for path in campaign.paths}

    def renew(self) -> None:
        """Begin anew, on the same data."""
        shutil.rmtree(self.plan.parent / "run", ignore_errors=True)

    def processes(self) -> dict[str, list[int]]:
        """``lrps run``, ``torchrun``, ``rank``, and the ranks' ``fork server`` and ``writer`` -> process ids."""
        named = str(self.plan.parent).encode()
        parents: dict[int, int] = {}
        servers: set[int] = set()
        kinds: dict[str, list[int]] = {"lrps run": [], "torchrun": [], "rank": [], "fork server": [], "writer": []}
        for entry in _PROC.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                environ = (entry / "environ").read_bytes()
            except (OSError, IndexError):
                continue
            if b"multiprocessing.forkserver" in words:
                servers.add(int(entry.name))
            if named not in words:
                continue
            if b"torch.distributed.run" in words:
                kinds["torchrun"].append(int(entry.name))
            elif b"\0RANK=" in b"\0" + environ:
                kinds["rank"].append(int(entry.name))
            else:
                kinds["lrps run"].append(int(entry.name))
        # What a rank has forked off has its command line too.
        kinds["rank"] = [pid for pid in kinds["rank"] if parents[pid] not in kinds["rank"]]
        kinds["fork server"] = [pid for pid in servers if parents[pid] in kinds["rank"]]
        kinds["writer"] = [pid for pid, parent in parents.items() if parent in kinds["fork server"]]
        return kinds
