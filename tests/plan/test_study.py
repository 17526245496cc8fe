"""A study's plans: the base, each run laid over it, each seed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand
from megatron_lrps.plan.study import load_study, trials_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "paper"
BASE: dict[str, Any] = {
    "paradigm": ["lrps", "ptfs"],
    "sequence_length": 32,
    "global_batch_size": 4,
    "decay": {"alpha": 0.5},
    "versions": [{"name": "v1", "iters": 8}, {"name": "v2", "iters": 8}],
    "megatron": {"num-layers": 2},
}
STUDY: dict[str, Any] = {
    "study": "shapes",
    "save": "runs/shapes",
    "seeds": [1, 2],
    "base": BASE,
    "runs": {
        "knee": {"decay": {"shape": "knee"}},
        "free": {"paths": [{"name": "a", "end": 8, "schedule": [{"kind": "hold"}]}], "megatron": {"hidden-size": 64}},
    },
}


def write(folder: Path, **changed: Any) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changed}, sort_keys=False))
    return file


def test_every_run_has_a_plan_for_each_seed(tmp_path: Path) -> None:
    loaded = load_study(write(tmp_path))
    trials = trials_of(loaded, loaded.study.seeds)
    assert [(trial.plan.campaign, trial.seed) for trial in trials] == [
        ("knee-1", 1),
        ("free-1", 1),
        ("knee-2", 2),
        ("free-2", 2),
    ]
    knee, free = trials[0].plan, trials[1].plan
    assert (knee.decay.shape, knee.decay.alpha) == ("knee", 0.5)
    assert knee.folder == tmp_path / "runs" / "shapes" / "knee-1"
    assert knee.megatron == {"num-layers": 2, "seed": 1}
    assert free.megatron == {"num-layers": 2, "hidden-size": 64, "seed": 1}
    assert [path.name for path in expand(free).paths] == ["a"]  # the base's paradigms are not a run's with paths


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seeds": []}, "seeds"),
        ({"runs": {}}, "runs"),
        ({"runs": {"a/b": {}}}, "a/b"),
        ({"base": {**BASE, "save": "x"}}, "save is given for a plan, and the study decides it"),
        ({"runs": {"a": {"campaign": "x"}}}, "campaign is given for a plan"),
        ({"colour": 1}, "colour"),
        (
            {"baselines": {"free": "nowhere"}},
            "baselines names nowhere, which is not a run. Fix: choose from knee, free",
        ),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError) as error:
        load_study(write(tmp_path, **changed))
    assert said in str(error.value)


def test_a_run_that_is_no_plan_is_named(tmp_path: Path) -> None:
    loaded = load_study(write(tmp_path, runs={"bad": {"decay": {"shape": "zigzag"}}}))
    with pytest.raises(PlanError, match=r"runs\.bad: decay\.shape"):
        trials_of(loaded, [1])
    with pytest.raises(PlanError, match="does not exist"):
        load_study(tmp_path / "nowhere.yaml")


def test_a_plan_file_can_be_the_base_and_its_paths_start_at_it(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    versions = [{"name": "v1", "iters": 8, "train": [[1.0, "data/v1"]]}, {"name": "v2", "iters": 8}]
    plan = {**BASE, "versions": versions, "campaign": "mine", "save": "elsewhere"}
    (tmp_path / "plans" / "plan.yaml").write_text(yaml.safe_dump(plan))
    loaded = load_study(write(tmp_path, base="plans/plan.yaml"))
    first = trials_of(loaded, [7])[0].plan
    assert (first.campaign, first.folder) == ("knee-7", tmp_path / "runs" / "shapes" / "knee-7")
    assert first.versions[0].train[0][1] == tmp_path / "plans" / "data" / "v1"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_papers_studies_are_the_papers(file: Path) -> None:
    """Every run expands; beside PTFS, LRPS costs 58 % of it by branches, and 40 % where versions are merged."""
    loaded = load_study(file)
    for trial in trials_of(loaded, loaded.study.seeds[:1]):
        tree = expand(trial.plan)
        if "ptfs" in trial.plan.paradigm and not trial.plan.paths:
            share = tree.iterations("lrps") / tree.iterations("ptfs")
            assert share == pytest.approx(0.4 if trial.plan.merge else 0.58)
