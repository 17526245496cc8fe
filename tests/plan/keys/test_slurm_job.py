"""`launch.slurm`: times as sbatch reads them, and what is refused before Slurm is asked."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import parse_plan, plan_text
from megatron_lrps.plan.keys.slurm_job import seconds_of
from tests.plan.plans import BASE, assert_one_clear_line, plan_dict, plan_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("24:00:00", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:05", 131405),
        ("0", 0),
        ("a day", 0),
        ("1:2:3:4", 0),
        ("-5", 0),
    ],
)
def test_times_are_read_as_sbatch_reads_them(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("slurm", "parts"),
    [
        ({"time": "a day"}, ["launch.slurm.time: 'a day' is not a time that Slurm reads"]),
        ({"time": "00:05:00"}, ["time 00:05:00 is 300 s", "signal_before 300 s", "raise time"]),
        ({"partition": "h100 --wrap=x"}, ["launch.slurm.partition", "not one word"]),
        ({"account": ""}, ["launch.slurm.account", "not one word"]),
        ({"options": {"dependency": "afterok:1"}}, ["launch.slurm.options", "dependency is decided by lrps submit"]),
        ({"options": {"gres": "gpu:4"}}, ["gres has a key of its own", "launch.slurm.gpus_per_node"]),
        ({"options": {"--mail-user": "a"}}, ["'--mail-user' is not a long option", "without dashes"]),
        ({"options": {"mail-user": "a\nb"}}, ["'mail-user' is not a long option"]),
        ({"container_runtime": "docker"}, ["launch.slurm.container_runtime: 'docker'"]),
    ],
)
def test_what_slurm_could_not_mean_is_refused(slurm: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        parse_plan(yaml.safe_dump(plan_dict(launch={"slurm": slurm})), base=BASE)
    assert_one_clear_line(refused.value, *parts)


def test_the_accepted_plan_names_its_site_file_in_full() -> None:
    plan = plan_of(launch={"slurm": {"site": "clusters/site.sh", "time": "24:00:00", "options": {"reservation": "r"}}})
    again = parse_plan(plan_text(plan), base=BASE / "elsewhere")
    assert again.launch.slurm is not None
    assert again.launch.slurm.site == Path("/campaigns/clusters/site.sh")
    assert again.launch.slurm.options == {"reservation": "r"}
