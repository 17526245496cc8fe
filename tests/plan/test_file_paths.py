"""Paths of a plan: read at one place, whatever way they are written, and written so that they read back."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Plan, expand, parse_plan, plan_hash, plan_text
from megatron_lrps.plan.file_paths import PATH_FLAGS, absolute, paths_in, written
from megatron_lrps.plan.flags import OWNED, path_flags
from megatron_lrps.plan.refused_flags import UNSAFE
from tests.plan.plans import plan_dict

FLAGS = [flag for flag in PATH_FLAGS if flag not in UNSAFE]
NAME = st.text(st.sampled_from("ab$~ .{}_-é[*"), min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


def plan_of_paths(path: Any, *, save: str = "runs/c") -> dict[str, Any]:
    """A plan whose every key that is a path has the value ``path(key)``."""
    return plan_dict(
        save=save,
        main={"adopt": path("stock"), "iteration": 1},
        versions=[
            {
                "name": "v1",
                "iters": 1000,
                "train": [[0.5, path("web")], [0.5, path("code")]],
                "valid": {"w": path("valid")},
                "sources": {path("web"): path("raw.jsonl"), path("valid"): {"files": [path("a.txt"), path("b.txt")]}},
            }
        ],
        tokenizer={"type": "sentencepiece", "model": path("t.model")},
        megatron={flag: path(flag) for flag in FLAGS},
        launch={"slurm": {"site": path("site.sh"), "mounts": [os.path.join("/m", path("m").lstrip("/~"))]}},  # noqa: PTH118
        evaluate={"tasks": ["a"], "task_folder": path("tasks")},
        promote={"gate": path("gate.txt")},
        alerts={"hook": [f"{path('bin')}/page", "--to/nobody"]},
    )


def read(keys: dict[str, Any], base: Path) -> Plan:
    return parse_plan(yaml.safe_dump(keys), base=base)


FORMS = {
    "relative": lambda name: f"data/{name}",
    "dotted": lambda name: f"./data/../data/{name}",
    "absolute": lambda name: f"/abs/{name}",
    "home": lambda name: f"~/data/{name}",
    "variable": lambda name: f"$LRPS_TEST_DATA/{name}",
    "braced": lambda name: f"${{LRPS_TEST_DATA}}x/{name}",
    "spaces": lambda name: f"my data/{name} 2",
    "dollar": lambda name: f"cost$$5/{name}",
    "link": lambda name: f"link/{name}",
    "inside": lambda name: f"runs/c/data/{name}",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_accepted_plan_is_the_plan_whatever_its_paths(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LRPS_TEST_DATA", "/scratch/data")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    plan = read(plan_of_paths(FORMS[form]), tmp_path)
    folder = {
        "relative": tmp_path / "data", "dotted": tmp_path / "data", "absolute": Path("/abs"),
        "home": tmp_path / "home/data", "variable": Path("/scratch/data"), "braced": Path("/scratch/datax"),
        "spaces": tmp_path / "my data", "dollar": tmp_path / "cost$5", "link": tmp_path / "disk",
        "inside": tmp_path / "runs/c/data",
    }[form]  # fmt: skip
    end = " 2" if form == "spaces" else ""
    assert plan.versions[0].train == ((0.5, folder / f"web{end}"), (0.5, folder / f"code{end}"))
    assert set(plan.versions[0].sources) == {folder / f"web{end}", folder / f"valid{end}"}
    assert plan.versions[0].sources[folder / f"web{end}"].files == (folder / f"raw.jsonl{end}",)
    assert plan.alerts.hook == (str(folder / f"bin{end}" / "page"), "--to/nobody")
    assert {plan.megatron[flag] for flag in FLAGS} == {str(folder / f"{flag}{end}") for flag in FLAGS}
    assert all(path.is_absolute() for path in paths_in(plan))

    monkeypatch.delenv("LRPS_TEST_DATA")
    for text, base in ((plan_text(plan, inside=plan.folder), plan.folder), (plan_text(plan), Path("/elsewhere"))):
        again = parse_plan(text, base=base)
        assert again.model_dump(exclude={"base"}) == plan.model_dump(exclude={"base"})
        assert (plan_hash(again), expand(again).paths) == (plan_hash(plan), expand(plan).paths)
        # Main starts from an adopted run or from weights, not from both.
        trees = [expand(each.model_copy(update={"main": None})) for each in (again, plan)]
        assert path_flags(trees[0], trees[0].path("main")) == path_flags(trees[1], trees[1].path("main"))
        assert again.main == plan.main


def test_what_lies_in_the_campaign_moves_with_it(tmp_path: Path) -> None:
    plan = read(plan_of_paths(FORMS["inside"]), tmp_path)
    moved = parse_plan(plan_text(plan, inside=plan.folder), base=tmp_path / "elsewhere")
    assert moved.folder == tmp_path / "elsewhere"
    assert moved.versions[0].train[0][1] == tmp_path / "elsewhere/data/web"
    assert moved.megatron["data-cache-path"] == str(tmp_path / "elsewhere/data/data-cache-path")
    assert plan_hash(moved) == plan_hash(plan)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(NAME, min_size=1, max_size=3), folder=st.lists(NAME, max_size=2))
def test_any_path_reads_back(parts: list[str], folder: list[str]) -> None:
    path, inside = Path("/", *parts), Path("/", *folder)
    assert absolute(written(path), Path("/nowhere")) == path
    assert absolute(written(path, inside), inside) == path


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("${LRPS_NOT_SET}/runs", ["LRPS_NOT_SET, which is not set", "set it"]),
        ("$LRPS_NOT_SET/runs", ["LRPS_NOT_SET, which is not set"]),
        ("$LRPS_EMPTY/runs", ["LRPS_EMPTY, which is empty"]),
        ("${LRPS_SET:-/tmp}/runs", ["${LRPS_SET:-/tmp}", "not a plain variable"]),
        ("${LRPS_SET/runs", ["not a plain variable"]),
        ("~nobody-of-this-name/runs", ["home folder that is not there"]),
        ("s3://bucket/runs", ["is an address"]),
        ("  ", ["is not a file path"]),
    ],
)
def test_a_path_that_cannot_be_read_is_refused_by_name(
    path: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRPS_EMPTY", "")
    monkeypatch.setenv("LRPS_SET", "/set")
    keys = [
        ("save", {"save": path}),
        ("tokenizer.model", {"tokenizer": {"type": "sentencepiece", "model": path}}),
        ("versions.v1.train", {"versions": [{"name": "v1", "iters": 9, "train": [[1.0, path]]}]}),
        ("megatron", {"megatron": {"data-cache-path": path}}),
    ]
    for key, value in keys:
        with pytest.raises(PlanError) as refusal:
            read(plan_dict(**value), tmp_path)
        assert str(refusal.value).startswith(key), refusal.value
        assert [word for word in words if word not in str(refusal.value)] == []
    assert list(tmp_path.iterdir()) == []


def test_a_glob_starts_at_the_plans_folder_whatever_that_is_called(tmp_path: Path) -> None:
    base = tmp_path / "odd [name]*"
    base.mkdir()
    version = {"name": "v1", "iters": 9, "train": [[1.0, "w"]], "sources": {"w": ["raw/*.jsonl", "x[1].txt"]}}
    (base / "x[1].txt").touch()
    files = read(plan_dict(versions=[version]), base).versions[0].sources[base / "w"].files
    assert str(files[0]) == f"{tmp_path}/odd [[]name][*]/raw/*.jsonl"
    assert files[1] == base / "x[1].txt"


def test_every_flag_of_megatron_that_names_a_file_is_known() -> None:
    """Read off the installed Megatron: a release that brings another one shows here."""
    pytest.importorskip("megatron.training")
    import argparse

    from megatron.training.arguments import add_megatron_arguments

    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_megatron_arguments(parser)
    ends = ("-path", "-dir", "-file", "-filename", "-folder", "-load", "-checkpoint")
    named = {
        option.removeprefix("--")
        for action in parser._actions
        for option in action.option_strings
        if action.nargs != 0 and option.endswith(ends)
    }
    assert named - set(PATH_FLAGS) - set(OWNED) == set()
