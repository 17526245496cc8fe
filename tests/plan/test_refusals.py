"""What is no plan: one clear line for each."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand, load_plan, parse_plan
from tests.plan.plans import BASE, PLAN, assert_one_clear_line, plan_dict, versions


def refused(text: str, *parts: str) -> PlanError:
    with pytest.raises(PlanError) as caught:
        expand(parse_plan(text, base=BASE))
    assert_one_clear_line(caught.value, *parts)
    return caught.value


# What is refused: (keys over the base plan, what the line must name)

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    # unknown keys, at each level
    ({"colour": "red"}, ["colour is an unknown key", "'red'", "correct its spelling, or remove it"]),
    ({"lr": {"maximum": 1}}, ["lr.maximum is an unknown key", "1"]),
    ({"decay": {"alhpa": 0.5}}, ["decay.alhpa is an unknown key", "0.5"]),
    ({"versions": versions(10, size=3)}, ["versions.v1.size is an unknown key", "3"]),
    ({"versions": versions(10, decay={"alhpa": 0.5})}, ["versions.v1.decay.alhpa is an unknown key"]),
    ({"tokenizer": {"kind": "x"}}, ["tokenizer.kind is an unknown key"]),
    ({"launch": {"k8s": {}}}, ["launch.k8s is an unknown key"]),
    ({"launch": {"slurm": {"gpus": 8}}}, ["launch.slurm.gpus is an unknown key"]),
    ({"launch": {"local": {"gpus": 8}}}, ["launch.local.gpus is an unknown key"]),
    (
        {"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "hold", "to": 9}]}]},
        ["paths.a.schedule[0].to is an unknown"],
    ),
    ({"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "hold"}], "lr": 1}]}, ["paths.a.lr is an unknown key"]),
    ({"base": "/"}, ["base is an unknown key"]),
    ({"a\nb\x1b[31m": 1}, [r"'a\nb\x1b[31m' is an unknown key"]),
    ({"k" * 500: 1}, ["kkk... is an unknown key"]),
    ({"colour": "red" * 500}, ["colour is an unknown key", "..."]),
    # names
    *[
        ({"campaign": name}, [f"campaign: {name!r} is not a plain file name", "use letters"])
        for name in ("../x", "a/b", "", ".hidden", "a b", "-x", "a\n", "ü", "a:b", "CON\\x")
    ],
    ({"campaign": "x" * 101}, ["campaign: 'xxx", "is not a plain file name"]),
    ({"campaign": ["a"]}, ["campaign: ['a'] is not a plain file name"]),
    (
        {"versions": [{"name": "../x", "iters": 9}]},
        ["versions[0].name (the 1st version): '../x' is not a plain file name"],
    ),
    ({"versions": [{"name": None, "iters": 9}]}, ["versions[0].name (the 1st version): None is not a plain file name"]),
    ({"versions": versions(9, valid={"a/b": "x"})}, ["versions.v1.valid.a/b", "'a/b' is not a plain file name"]),
    ({"paths": [{"name": "a/b", "end": 9, "schedule": [{"kind": "hold"}]}]}, ["paths[0].name (the 1st path): 'a/b'"]),
    # what is missing
    ({"campaign": None}, ["campaign is missing", "add it"]),
    ({"save": None}, ["save is missing"]),
    ({"global_batch_size": None}, ["global_batch_size is missing"]),
    ({"sequence_length": None}, ["sequence_length is missing"]),
    ({"versions": None}, ["versions is missing"]),
    ({"versions": [{"iters": 9}]}, ["versions[0].name (the 1st version) is missing"]),
    ({"versions": []}, ["versions: []", "at least 1"]),
    # sizes
    ({"versions": [{"name": "v1"}]}, ["versions.v1: has no size", "give exactly one of iters, samples, tokens"]),
    ({"versions": versions(9, tokens="1M")}, ["versions.v1: has iters and tokens", "give exactly one"]),
    ({"versions": [{"name": "v", "samples": 1, "tokens": 1}]}, ["samples and tokens"]),
    *[
        ({"versions": [{"name": "v1", key: value}]}, [f"versions.v1.{key}: {value!r}", says])
        for key in ("iters", "samples", "tokens")
        for value, says in [
            (0, "at least 1"),
            (-5, "at least 1"),
            ("-5", "is not a count"),
            (1.5, "not a whole number"),
            ("1.5", "not a whole number"),
            ("1.2345K", "not a whole number"),
            ("many", "is not a count"),
            ("21G", "is not a count"),
            ("", "is not a count"),
            (True, "not a whole number"),
            ([9], "not a whole number"),
            (float("inf"), "not a whole number"),
            (float("nan"), "not a whole number"),
            (10**16, "is above 1e+15"),
            ("10000T", "is above 1e+15"),
        ]
    ],
    ({"versions": [{"name": "v1", "iters": 10**400}]}, ["versions.v1.iters: 1000", "is above 1e+15"]),
    ({"versions": [{"name": "v1", "iters": "9" * 5000}]}, ["versions.v1.iters: '999", "too many digits"]),
    ({"global_batch_size": 0}, ["global_batch_size: 0 must be at least 1"]),
    ({"sequence_length": "long"}, ["sequence_length: 'long' is not a count"]),
    # learning rates
    ({"lr": {"max": float("nan")}}, ["lr.max: nan", "finite"]),
    ({"lr": {"max": float("inf")}}, ["lr.max: inf", "finite"]),
    ({"lr": {"min": float("-inf")}}, ["lr.min: -inf", "finite"]),
    ({"lr": {"max": 0}}, ["lr.max: 0 ", "greater than 0"]),
    ({"lr": {"min": -1.0}}, ["lr.min: -1.0", "greater than or equal to 0"]),
    ({"lr": {"max": 1e-5, "min": 1e-4}}, ["lr.min 0.0001 is above lr.max 1e-05", "exchange them"]),
    ({"lr": {"max": "fast"}}, ["lr.max: 'fast'", "number"]),
    ({"lr": {"warmup_iters": -1}}, ["lr.warmup_iters: -1", "greater than or equal to 0"]),
    ({"lr": {"warmup_iters": 1.5}}, ["lr.warmup_iters: 1.5", "integer"]),
    ({"lr": {"warmup_iters": 10**400}}, ["lr.warmup_iters: 1000"]),
    ({"lr": 3e-4}, ["lr: 0.0003 is not valid here", "give keys under it"]),
    # decay
    ({"decay": {"shape": "cosin"}}, ["decay.shape: 'cosin' is not a decay shape", "choose one of cosine, knee"]),
    ({"decay": {"shape": 3}}, ["decay.shape: 3", "give text"]),
    ({"decay": {"alpha": 0}}, ["decay.alpha: 0 ", "greater than 0"]),
    ({"decay": {"alpha": 1.01}}, ["decay.alpha: 1.01", "less than or equal to 1"]),
    ({"decay": {"alpha": float("nan")}}, ["decay.alpha: nan", "finite"]),
    ({"decay": {"hold": 1.0}}, ["decay.hold: 1.0", "less than 1"]),
    ({"decay": {"steps": []}}, ["decay.steps: []", "rising shares"]),
    ({"decay": {"steps": [[0.9, 0.3], [0.8, 0.1]]}}, ["decay.steps: [[0.9, 0.3], [0.8, 0.1]]", "rising shares"]),
    ({"decay": {"steps": [[0.8, 0.1], [0.9, 0.3]]}}, ["decay.steps", "falling factors"]),
    ({"decay": {"steps": [[0.8, 1.1]]}}, ["decay.steps: [[0.8, 1.1]]", "factors in [0, 1]"]),
    ({"decay": {"steps": [[float("nan"), 0.1]]}}, ["decay.steps[0][0]: nan", "finite"]),
    ({"decay": {"steps": [[0.8]]}}, ["decay.steps[0][1] is missing"]),
    ({"decay": {"branch_steps": [[0.5, 0.1]]}}, ["decay.branch_steps: [[0.5, 0.1]] do not begin at the fork"]),
    ({"versions": versions(9, decay={"alpha": 2})}, ["versions.v1.decay.alpha: 2", "less than or equal to 1"]),
    ({"versions": versions(9, decay="cosine")}, ["versions.v1.decay: 'cosine'", "give keys under it"]),
    # paradigms and explicit paths
    ({"paradigm": "sgd"}, ["paradigm: 'sgd'", "'lrps', 'ptfs', 'ptfs-merged', 'cpt' or 'cpt-rewarm'"]),
    ({"paradigm": ["lrps", "lrps"]}, ["paradigm: ['lrps', 'lrps'] names a paradigm twice"]),
    ({"paradigm": 3}, ["paradigm: 3"]),
    ({"paths": [{"name": "a", "end": 9, "schedule": []}]}, ["paths.a.schedule: []"]),
    ({"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "cosine"}]}]}, ["a cosine needs `until`"]),
    ({"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "factor", "until": 9}]}]}, ["factor None"]),
    ({"paths": [{"name": "a", "end": 9, "parent": "b", "schedule": [{"kind": "hold"}]}]}, ["parent b and fork None"]),
    ({"paths": [{"name": "a", "end": 9, "schedule": [{"kind": "knee"}]}]}, ["paths.a.schedule[0].kind: 'knee'"]),
    # data, tokenizer, launch
    ({"versions": versions(9, train=[0.5, "x"])}, ["versions.v1.train[0]: 0.5", "give a list"]),
    ({"versions": versions(9, train=[["x", 0.5]])}, ["versions.v1.train[0][0]: 'x'", "number"]),
    ({"versions": versions(9, train=[[0, "x"]])}, ["versions.v1.train[0][0]: 0 ", "greater than 0"]),
    ({"versions": versions(9, train=[[1.0, ""]])}, ["versions.v1.train[0][1]: '' is not a file path"]),
    ({"versions": versions(9, valid=["x"])}, ["versions.v1.valid: ['x']", "give keys under it"]),
    ({"save": ""}, ["save: '' is not a file path", "name one"]),
    ({"save": "a\0b"}, [r"save: 'a\x00b' is not a file path"]),
    ({"save": "~no-such-user/x"}, ["save: '~no-such-user/x'", "home folder"]),
    ({"save": 3}, ["save: 3", "give text"]),
    ({"tokenizer": {"model": "a\0"}}, ["tokenizer.model"]),
    ({"launch": {"device": "tpu"}}, ["launch.device: 'tpu'", "'gpu' or 'cpu'"]),
    ({"launch": {"slurm": {"time": 86400}}}, ["launch.slurm.time: 86400", "in quotes"]),  # 24:00:00 unquoted
    ({"launch": {"slurm": {"nodes": 0}}}, ["launch.slurm.nodes: 0 must be at least 1"]),
    # what would be read twice, or ignored
    ({"versions": versions(9, 9, train=[[1, "w"]])}, ["versions.v2.train: w is in versions.v1.train"]),
    ({"versions": versions(9, train=[[1, "w"], [2, "./w"]])}, ["w is in versions.v1.train", "of its own"]),
    ({"versions": versions(9, train=[[1, "w"]], valid={"a": "w"})}, ["versions.v1.valid.a: w is in", "hold out"]),
    ({"decay": {"shape": "multi-step", "hold": 0.5}}, ["hold is given, but the shape multi-step has none"]),
    ({"decay": {"steps": [[0.8, 0.3]]}}, ["steps is given, but the shape cosine has none", "remove it"]),
    # Megatron's flags
    ({"megatron": {"--lr": 1}}, ["'--lr' is not a Megatron flag", "without the leading dashes"]),
    ({"megatron": {"a b": 1}}, ["'a b' is not a Megatron flag"]),
    ({"megatron": {"swiglu": None}}, ["megatron.swiglu: None is not a value that a flag takes", "give true, false"]),
    ({"megatron": {"swiglu": {"a": 1}}}, ["megatron.swiglu: is not a value that a flag takes"]),
    ({"megatron": {"x": []}}, ["megatron.x: [] is not a value that a flag takes"]),
    ({"megatron": {"x": [[1]]}}, ["megatron.x: [[1]] is not a value that a flag takes"]),
    ({"megatron": {"x": float("nan")}}, ["megatron.x: nan is not a finite number"]),
    ({"megatron": {"x": ["1", "--lr", "9"]}}, ["megatron.x: ['1', '--lr', '9'] holds a flag"]),
    ({"megatron": {"x": "--lr=9"}}, ["megatron.x: '--lr=9' holds a flag"]),
    ({"megatron": ["swiglu"]}, ["megatron: ['swiglu']", "give keys under it"]),
]


@pytest.mark.parametrize(("keys", "parts"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_refused(keys: dict[str, Any], parts: list[str]) -> None:
    data = plan_dict()
    for key, value in keys.items():
        data[key] = value
        if value is None:
            del data[key]
    refused(yaml.safe_dump(data, allow_unicode=True), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (PLAN + "save: t\n", ["save: the key is given twice", "line 6", "keep one"]),
        (PLAN + "lr: {max: 1, max: 2}\n", ["max: the key is given twice", "line 6"]),
        (PLAN + "lr: {max: 1, 'max': 2}\n", ["max: the key is given twice"]),
        (PLAN + "? [a, b]\n: c\n", ["line 6", "is used as a key", "use plain text"]),
        (PLAN + "? {a: b}\n: c\n", ["line 6", "is used as a key"]),
        (PLAN + "1: 2\n", ["1 is an unknown key, with the value 2"]),
        (PLAN + "~: 2\n", ["~ is an unknown key"]),
        ("", ["plan holds a value of type NoneType and not keys", "begin with `campaign: NAME`"]),
        ("# nothing\n", ["plan holds a value of type NoneType"]),
        ("just text", ["plan holds a value of type str"]),
        ("- a\n- b\n", ["plan holds a value of type list"]),
        ("42", ["plan holds a value of type int"]),
        ("a: [1, 2\n", ["plan is not valid YAML", "line 2", "correct that line"]),
        ("a: b: c\n", ["plan is not valid YAML", "line 1"]),
        ("\tcampaign: c\n", ["plan is not valid YAML"]),
        (PLAN + "---\n" + PLAN, ["plan is not valid YAML", "expected a single document"]),
        (PLAN + "x: *nowhere\n", ["plan is not valid YAML", "undefined alias"]),
        (PLAN + "x: &x [*x]\n", ["plan is not valid YAML", "recursive"]),
        (PLAN + "x: !!python/object:os.system {}\n", ["plan is not valid YAML"]),
        (PLAN + "x: !mine 3\n", ["plan is not valid YAML"]),
        (PLAN + "x: 2024-13-45\n", ["x is an unknown key, with the value '2024-13-45'"]),
        (PLAN.replace("1000", "12:30"), ["versions.v1.iters: '12:30' is not a count", "write a whole number"]),
        (PLAN.replace("1000", "2024-11-01"), ["versions.v1.iters: '2024-11-01' is not a count"]),
        (PLAN.replace("1000", "0o17"), ["versions.v1.iters: '0o17' is not a count"]),
        (PLAN.replace("1000", "yes"), ["versions.v1.iters: True is not a whole number"]),
        (PLAN + "lr: {warmup_iters: 12:30}\n", ["lr.warmup_iters: '12:30' is not valid here"]),
        (PLAN + "lr: {max: 1:30.5}\n", ["lr.max: '1:30.5' is not valid here"]),
        (PLAN + "launch: on\n", ["launch: True is not valid here"]),
        (PLAN + "tokenizer: {type: }\n", ["tokenizer.type: None is not valid here"]),
        (PLAN + "x: 0b_\n", ["line 6: '0b_' is not a valid int"]),
        (PLAN + "x: !!float ''\n", ["line 6: '' is not a valid float"]),
        (PLAN + "x: !!bool maybe\n", ["line 6: 'maybe' is not a valid bool"]),
        (PLAN + "x: !!timestamp x\n", ["line 6: 'x' is not a valid timestamp"]),
        (PLAN + f"x: {'9' * 5000}\n", ["line 6: '999", "is not a valid int"]),
        (PLAN + "x: \0\n", ["plan is not valid YAML", "control characters"]),
        (PLAN + "x: \ud800\n", ["plan is not valid YAML"]),
        (PLAN + "x: " + "[" * 1000 + "]" * 1000, ["line 6: the plan is nested deeper than 50 levels"]),
        (
            PLAN + "x: " + "[" * 200_000,
            ["line 6: the plan is nested deeper than 50 levels"],
        ),  # crashed the interpreter once
        (PLAN + "x: " + "{a: " * 200_000, ["line 6: the plan is nested deeper than 50 levels"]),
        ("\n".join(" " * level + "a:" for level in range(300)), ["nested deeper than 50 levels"]),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_text_that_is_no_plan(text: str, parts: list[str]) -> None:
    refused(text, *parts)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("levels", [3, 9, 900])
def test_billion_laughs(levels: int) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    says = "a0 is an unknown key" if levels == 3 else "line 10: the plan has more than 100,000 values"
    refused(PLAN + "\n".join(lines), says)


@pytest.mark.timeout(20)
def test_a_laughing_merge() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 30)]
    refused(PLAN + "\n".join(lines), "with what aliases repeat")


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    def refused_file(name: str | Path, *parts: str) -> None:
        with pytest.raises(PlanError) as caught:
            load_plan(name)
        assert_one_clear_line(caught.value, *parts)

    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.yaml").write_bytes(b"")
    (tmp_path / "utf16.yaml").write_bytes(PLAN.encode("utf-16"))
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    refused_file(tmp_path / "nowhere.yaml", "nowhere.yaml does not exist", "name a plan file")
    refused_file(tmp_path / "binary.yaml", "binary.yaml cannot be read", "UTF-8")
    refused_file(tmp_path / "utf16.yaml", "utf16.yaml cannot be read", "UTF-8")
    refused_file(tmp_path / "empty.yaml", "empty.yaml holds a value of type NoneType and not keys")
    refused_file(tmp_path / "loop.yaml", "loop.yaml cannot be read")
    refused_file(tmp_path, "cannot be read: [Errno 21]")
    refused_file("~no-such-user/plan.yaml", "~no-such-user/plan.yaml cannot be read")
    refused_file("a\0b", "cannot be read")


def test_a_save_folder_in_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PlanError) as caught:
        parse_plan(PLAN.replace("save: s", "save: loop/x"), base=tmp_path)
    assert_one_clear_line(caught.value, "loop/x", "fix the links")
