"""Every plan that README, docs/ and examples/ show leads from raw text to a released version, by the commands shown.

Each is copied into an empty folder, shrunk by one rule (``pages.shrunk``), with raw text beside it. Real Megatron
trains it on the CPU.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import read_record
from tests.conftest import Lrps
from tests.docs.pages import ITERATIONS, ROOT, Shown, lay_out, plans, shrunk

pytestmark = pytest.mark.training

WALKED = "docs/first-campaign.md"
"""A page whose own commands are run, by ``test_walk.py``."""
PLANS = [shown for shown in plans() if not shown.name.startswith(WALKED)]
FP8 = "trains with FP8, which no CPU has; tests/cli/test_recipes.py plans it and checks its layout"


def parameter(shown: Shown) -> Any:
    gpu = "fp8-format" in yaml.safe_load(shown.text)["megatron"]
    return pytest.param(shown, id=shown.name, marks=[pytest.mark.skip(FP8)] if gpu else [])


def test_the_pages_show_plans() -> None:
    assert {"README.md:1", "docs/data.md:1", "examples/paper-1.2b.yaml"} <= {shown.name for shown in PLANS}


@pytest.mark.parametrize("shown", [parameter(shown) for shown in PLANS])
def test_from_raw_text_to_a_released_version(shown: Shown, tmp_path: Path, run_lrps: Lrps) -> None:
    plan = shrunk(yaml.safe_load(shown.text))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    lay_out(plan, tmp_path)
    versions = [version["name"] for version in plan["versions"]]

    def lrps(*command: str) -> str:
        code, out, err = run_lrps(*command, cwd=tmp_path)
        assert code == 0, f"lrps {' '.join(command)}: {code}\n{out[-2000:]}\n{err[-3000:]}"
        return out

    lrps("plan", "plan.yaml")
    lrps("prepare", "plan.yaml")
    assert "Not there yet" not in lrps("plan", "plan.yaml")
    lrps("run", "plan.yaml")
    status = json.loads(lrps("status", "plan.yaml", "--json"))
    assert status["iterations_left"] == 0
    assert lrps("run", "plan.yaml").endswith("there is nothing to do.\n")  # the accepted plan is the plan
    lrps("eval", "plan.yaml", versions[0], "--engine", "megatron")
    lrps("export", "plan.yaml", versions[0], "--no-check")
    for version in (versions[0], versions[-1]):
        lrps("promote", "plan.yaml", version)
    lrps("report", "plan.yaml")
    assert versions[-1] in lrps("compare", "plan.yaml")

    save = tmp_path / plan["save"]
    assert (save / "report" / "report.html").is_file()
    for version in (versions[0], versions[-1]):
        record = read_record(PathFolder(CampaignFolder(save).path(version).root))
        assert record is not None
        assert record["status"] == "released"
        assert (save / "exports" / version / "model.safetensors").is_file()
        assert record["end"] == ITERATIONS * (1 + versions.index(version))
    assert ROOT not in tmp_path.parents
