"""`lrps diff` from the shell."""

import json
from pathlib import Path

from tests.campaign.records import digest, write_path
from tests.cli.test_show import plan, tree
from tests.conftest import Lrps

__all__ = ["plan"]  # a fixture


def test_diff_prints_what_differs_and_counts_the_rest(plan: Path, lrps: Lrps) -> None:
    write_path(tree(plan), "v2", tensor=2)
    code, stdout, stderr = lrps("diff", plan, "v1", "v2")
    assert (code, stderr) == (0, "")
    first, *lines, last = stdout.splitlines()
    assert first == "v1 | v2"
    news = "news"
    assert lines == [
        "fork: 400 | 1,400",
        "end: 1,000 | 2,000",
        "consumed_samples: 8,000 | 11,200",
        "layout.tensor: 1 | 2",
        "schedule.1: hold at 0.0003 (0, 400] | hold at 0.0003 (0, 1,400]",
        "schedule.2: cosine from 0.0003 to 3e-05 (400, 1,000] | cosine from 0.0003 to 3e-05 (1,400, 2,000]",
        f"data.v2: - | iterations 1,000, train ({news} (weight 1.0, idx_sha256 {digest('news')[:12]}, "
        f"bin_bytes 4,096, bin_sample_sha256 {digest('bin')[:12]}, tokens 1,024))",
    ]
    facts = json.loads(lrps("diff", plan, "v1", "v2", "--json").stdout)
    assert list(facts) == ["campaign", "save", "notes", "a", "b", "differences", "same", "one_sided"]
    assert facts["a"] == {"path": "v1", "record": "read", "notes": []}
    assert facts["differences"][0] == {"key": "fork", "a": 400, "b": 1400}
    assert last == f"The same in both: {facts['same']} values."


def test_diff_of_the_same_and_with_a_path_that_has_not_started(plan: Path, lrps: Lrps) -> None:
    code, stdout, _ = lrps("diff", plan, "v1", "v1")
    assert code == 0
    assert len(stdout.splitlines()) == 2
    code, stdout, _ = lrps("diff", plan, "v1", "v2")
    assert code == 0
    lines = stdout.splitlines()
    assert lines[1] == "v2 has not started; this is what the plan says."
    assert lines[-2].startswith("Known of one of them alone: status, consumed_samples, plan_hash, layout, libraries")
