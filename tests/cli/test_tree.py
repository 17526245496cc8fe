"""`lrps tree` of a campaign on disk; test_status.py looks at its words."""

from tests.conftest import Lrps
from tests.launch.campaign import TinyCampaign


def test_tree_draws_forks_ends_and_progress(begun: TinyCampaign, lrps: Lrps) -> None:
    code, stdout, _ = lrps("tree", begun.plan)
    assert code == 0
    assert stdout.splitlines()[1:] == [
        "`-- main  (0, 14]  interrupted at 10 of 14, 71%",  # 10 of 14
        "    |-- v1  (4, 10]  version v1  trained, 100%",
        "    `-- v2  (14, 20]  version v2  waiting for main at 14, 0%",
    ]
