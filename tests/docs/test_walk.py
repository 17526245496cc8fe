"""docs/first-campaign.md, walked from its first block to its last: its plan, its text, its commands, nothing else."""

import json
from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import read_record
from tests.conftest import Lrps
from tests.docs.pages import ROOT, documents, fenced

PAGE = ROOT / "docs/first-campaign.md"


@pytest.mark.training
def test_from_the_first_block_to_the_last(tmp_path: Path, run_lrps: Lrps) -> None:
    text = list(documents())[:1200]
    (tmp_path / "raw").mkdir()
    for name, part in (("v1", text[:600]), ("v2", text[600:1000]), ("valid", text[1000:])):
        (tmp_path / f"raw/{name}.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in part))
    plan = tmp_path / "plan.yaml"
    for kind, block in fenced(PAGE):
        if kind == "yaml" and not plan.exists():
            plan.write_text(block)
        elif kind == "yaml":  # the keys that change
            plan.write_text(yaml.safe_dump({**yaml.safe_load(plan.read_text()), **yaml.safe_load(block)}))
        for line in block.splitlines() if kind == "sh" else ():
            command = line.partition("#")[0].split()
            assert command.pop(0) == "lrps", line
            code, out, err = run_lrps(*command, cwd=tmp_path)
            assert code == 0, f"{line}: {code}\n{out[-2000:]}\n{err[-3000:]}"

    campaign = CampaignFolder(tmp_path / "runs/first")
    for version, end in (("v1", 100), ("v2", 200)):
        record = read_record(campaign.path(version))
        assert record is not None
        assert (record["status"], record["end"]) == ("released", end)
        assert (tmp_path / "runs/first/exports" / version / "model.safetensors").is_file()
    assert (tmp_path / "runs/first/report/report.html").is_file()
