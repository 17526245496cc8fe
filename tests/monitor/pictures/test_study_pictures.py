"""A study's pictures: which there are, and what they say."""

from pathlib import Path
from typing import Any, cast

from matplotlib.container import ErrorbarContainer

from megatron_lrps.monitor.pictures.canvas import new_figure
from megatron_lrps.monitor.pictures.study_pictures import _draw_paradigms, draw_study
from megatron_lrps.monitor.pictures.study_ratios import draw_ratios
from megatron_lrps.monitor.study_results import lines_of
from megatron_lrps.monitor.version_costs import VersionCost, VersionCosts
from megatron_lrps.plan import Tree, expand
from megatron_lrps.plan.load import parse_mapping

STAGES: list[dict[str, Any]] = [
    {"name": "early", "version": "v1", "end": 10, "schedule": [{"kind": "cosine", "until": 40}]},
    {
        "name": "late", "version": "v2", "parent": "early", "fork": 10, "end": 20,
        "schedule": [{"kind": "cosine", "until": 20}],
    },
]  # fmt: skip


def tree(**keys: Any) -> Tree:
    plan = {
        "campaign": "c", "save": "run", "lr": {"max": 1e-3, "min": 1e-4}, "sequence_length": 8, "global_batch_size": 2,
        "versions": [{"name": name, "iters": 10, "train": [[1.0, f"data/{name}"]]} for name in ("v1", "v2")],
    }  # fmt: skip
    return expand(parse_mapping(plan | keys, base=Path("/nowhere")))


def versions(run: str, of: Tree, perplexity: float) -> tuple[tuple[str, int], VersionCosts]:
    rows = tuple(
        VersionCost(
            version=str(path.version), paradigm=path.paradigm, path=path.name, fork=path.fork, end=path.end,
            iterations=path.iterations, cost=10, samples=10, by_ptfs=20, of_cpt=1.0,
            perplexity={"a": perplexity + number},
        )
        for number, path in enumerate(of.paths) if path.version
    )  # fmt: skip
    return (run, 1), VersionCosts(campaign=run, totals=(), rows=rows)


def test_each_kind_of_run_has_its_picture(tmp_path: Path) -> None:
    trees = {
        "cosine": tree(
            paradigm=["lrps", "ptfs", "cpt", "cpt-rewarm"], lr={"max": 1e-3, "min": 1e-4, "warmup_iters": 1}
        ),
        "alpha-0.2": tree(paradigm="lrps", decay={"alpha": 0.2}),
        "stage-1": tree(paths=STAGES),
    }
    lines = lines_of(dict(versions(run, of, 20.0) for run, of in trees.items()))
    pictures = draw_study(lines, trees, tmp_path)
    assert [picture.relative_to(tmp_path).as_posix() for picture in pictures] == [
        "runs/cosine.png",
        "runs/stage-1.png",
        "lrps.png",
    ]
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
    words = {picture.stem: picture.with_suffix(".svg").read_text() for picture in pictures}
    for said in ("CPT-REWARM", "over PTFS", "perplexity by version, one seed"):
        assert said in words["cosine"]
    for said in ("learning rates", "perplexity of v2 by path, one seed", "late"):
        assert said in words["stage-1"]
    assert "alpha-0.2 (50%)" in words["lrps"]


def test_paradigms_differ_in_their_marks_and_the_line_of_ptfs_lies_on_the_grid() -> None:
    names = ["lrps", "ptfs", "cpt", "cpt-rewarm"]
    of = tree(paradigm=names, lr={"max": 1e-3, "min": 1e-4, "warmup_iters": 1})
    with new_figure(1200, 480) as figure:
        _draw_paradigms(figure, lines_of(dict([versions("cosine", of, 20.0)])))
        left, right = figure.axes
        assert len({cast(ErrorbarContainer, each)[0].get_marker() for each in left.containers}) == 4
        grid = right.yaxis.get_zorder()
        references = [line for line in right.get_lines() if list(line.get_ydata()) in ([1.0, 1.0], [1.01, 1.01])]
        assert len(references) == 2
        assert all(grid < line.get_zorder() < 2 for line in references)  # and under the curves, which are at 2


def test_runs_are_compared_with_ptfs_their_own_or_a_baselines(tmp_path: Path) -> None:
    """v1 of a tree is at 20 and later ones 1 higher each; `paper` has no PTFS of its own and is 10 higher."""
    merge = {"window": 0.2, "checkpoints": 2}
    trees = {
        "merge": tree(paradigm=["lrps", "ptfs"], merge=merge),
        "paper": tree(paradigm="lrps"),
        "alone": tree(paradigm="lrps"),
    }
    tables = dict(versions(run, of, 30.0 if run == "paper" else 20.0) for run, of in trees.items())
    lines = lines_of(tables, {"paper": "merge"})
    pictures = draw_study(lines, trees, tmp_path)
    assert pictures[-1] == tmp_path / "over-ptfs.png"
    words = (tmp_path / "over-ptfs.svg").read_text()
    assert "merge (50%)" in words
    assert "paper (50%)" in words
    assert "alone (50%)" not in words
    assert draw_ratios([line for line in lines if line.run == "merge"], tmp_path / "one") is None


def test_runs_without_a_seed_in_common_are_not_compared(tmp_path: Path) -> None:
    trees = {name: tree(paradigm="lrps", decay={"alpha": 0.2}) for name in ("a", "b")}
    (first, table), (_, other) = versions("a", trees["a"], 20.0), versions("b", trees["b"], 20.0)
    assert draw_study(lines_of({first: table, ("b", 2): other}), trees, tmp_path) == []
