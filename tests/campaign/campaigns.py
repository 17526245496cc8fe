"""A campaign whose checkpoints are on disk, for what removes and protects them."""

from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.campaign import campaign as planned
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.keep import Verdict
from megatron_lrps.campaign.removal import judge, sweep
from megatron_lrps.plan import expand, parse_plan
from tests.campaign import checkpoints
from tests.plan.plans import plan_dict

KEYS: dict[str, Any] = {"keep": {"latest": 1}}

TRASH = ".trash-iter_0000100-0123abcd"


class Campaign:
    """main (0, 1400], v1 (400, 1000], v2 (1400, 2000], of which only the newest are kept."""

    def __init__(self, root: Path, **keys: Any) -> None:
        self.plan = root / "plan.yaml"
        self.plan.write_text(yaml.safe_dump(plan_dict(**KEYS | keys), sort_keys=False))
        self.tree = expand(parse_plan(self.plan.read_text(), base=root))
        self.campaign = planned.Campaign(self.tree)
        self.folder = self.campaign.folder

    def __getitem__(self, path: str) -> PathFolder:
        return self.folder.path(path)

    def save(self, path: str, *iterations: int, whole: bool = True) -> None:
        checkpoints.save(self[path].checkpoints, *iterations, whole=whole)

    def saved(self, path: str) -> list[int]:
        return [*Checkpoints.in_folder(self[path].checkpoints).complete]

    def names(self, path: str) -> list[str]:
        return sorted(entry.name for entry in self[path].checkpoints.iterdir())

    def doomed(self) -> list[Verdict]:
        return [verdict for verdict in judge(self.campaign) if not verdict.keep]

    def goes(self, path: str) -> list[int]:
        return [verdict.iteration for verdict in self.doomed() if verdict.path == path]

    def reason(self, path: str, iteration: int) -> str:
        return next(each.reason for each in judge(self.campaign) if (each.path, each.iteration) == (path, iteration))

    def collect(self) -> list[tuple[str, int]]:
        return [(verdict.path, verdict.iteration) for verdict in sweep(self.campaign, self.doomed())]
