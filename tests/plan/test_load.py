"""Reading plan.yaml: what is accepted, and what the accepted plan keeps."""

import re
from pathlib import Path

import pytest

from megatron_lrps.plan import Plan, expand, load_plan, parse_plan, plan_hash, plan_text
from tests.plan.plans import BASE, HEAD, PLAN, plan_of, versions


@pytest.mark.parametrize(
    ("written", "iterations"),
    [
        ("10000", 10_000),
        ("10_000", 10_000),
        ("1e4", 10_000),
        ("1.0e+4", 10_000),
        ("1.5K", 1_500),
        ("21B", 21 * 10**9),
        ("1.5M", 1_500_000),
        ("0.5 t", 5 * 10**11),
        ("'10_000'", 10_000),
        ("010", 10),  # YAML 1.1: octal, 8
        ("08", 8),
        ("0_10", 10),
        ("'010'", 10),
        ("0x10", 16),
    ],
)
def test_counts(written: str, iterations: int) -> None:
    text = PLAN.replace("iters: 1000", f"iters: {written}")
    assert parse_plan(text, base=BASE).versions[0].iters == iterations


@pytest.mark.parametrize("written", ["3.0e-4", "3e-4", "3E-4", "0.0003", "30e-5", ".3e-3", "+3e-4"])
def test_learning_rates_as_everybody_writes_them(written: str) -> None:
    assert parse_plan(f"{PLAN}lr: {{max: {written}}}\n", base=BASE).lr.max == 3e-4


@pytest.mark.parametrize("name", ["llama-1.2b", "2024", "007", "1.20", "1e5", "2024-11-01", "on", "0x10", "12:30"[:2]])
def test_a_name_is_text_as_it_is_written(name: str) -> None:
    plan = parse_plan(f"campaign: {name}\n{PLAN[12:]}".replace("v1", name), base=BASE)
    assert plan.campaign == plan.versions[0].name == name


@pytest.mark.parametrize("written", ["010", "00100", "1_00", "+100", "100", "1e2", "100.0", "0x64", "0b1100100"])
def test_whole_numbers_are_what_they_look_like(written: str) -> None:
    expected = 10 if written == "010" else 100
    plan = parse_plan(f"{PLAN}lr: {{warmup_iters: {written}}}\ndecay: {{alpha: 0.5}}\n", base=BASE)
    assert plan.lr.warmup_iters == expected


@pytest.mark.parametrize(
    "written", ["0012", "12:30", "24:00:00", "2024-11-01", "2024-11-01 10:00:00", "1:30.5", "0o17"]
)
def test_what_is_no_plain_number_is_text_for_paths_and_flags(written: str) -> None:
    text = PLAN.replace("save: s", f"save: {written}") + f"megatron: {{wandb-exp-name: {written}, b: [{written}]}}\n"
    plan = parse_plan(text, base=BASE)
    assert plan.folder == BASE / written
    assert plan.megatron == {"wandb-exp-name": written, "b": [written]}
    again = parse_plan(plan_text(plan), base=BASE)
    assert (again.megatron, plan_hash(again)) == (plan.megatron, plan_hash(plan))


@pytest.mark.parametrize("written", ["24:00:00", "12:30", "1-12"])
def test_slurms_times_need_no_quotes(written: str) -> None:
    plan = parse_plan(f"{PLAN}launch: {{slurm: {{time: {written}}}}}\n", base=BASE)
    assert plan.launch.slurm is not None
    assert plan.launch.slurm.time == written


def test_the_tokenizer_called_null_is_meant_by_null() -> None:
    plan = parse_plan(f"{PLAN}tokenizer: {{type: null, vocab_size: 100}}\n", base=BASE)
    assert plan.tokenizer is not None
    assert plan.tokenizer.megatron_type == "NullTokenizer"


def test_names_of_validation_sets_and_parents_are_text_too() -> None:
    text = f"{HEAD}versions: [{{name: a, iters: 100, valid: {{2024: x}}}}]\npaths: [{{name: 1, end: 10, schedule:\n" + (
        "[{kind: hold}]}, {name: 2, parent: 1, fork: 5, end: 10, schedule: [{kind: linear, until: 10}]}]"
    )
    plan = parse_plan(text, base=BASE)
    assert list(plan.versions[0].valid) == ["2024"]
    assert [path.parent for path in plan.paths] == [None, "1"]


def test_quoted_text_stays_text() -> None:
    plan = parse_plan(PLAN + "megatron: {a: '7e3', b: 7e3, c: '12', d: [1, '2', x]}\n", base=BASE)
    assert plan.megatron == {"a": "7e3", "b": 7000.0, "c": "12", "d": [1, "2", "x"]}


def test_merge_keys_and_aliases_work() -> None:
    text = f"{HEAD}versions: [&first {{name: v1, iters: 1000}}, {{<<: *first, name: v2}}]\n"
    assert [(v.name, v.iters) for v in parse_plan(text, base=BASE).versions] == [("v1", 1000), ("v2", 1000)]


def test_paths_start_at_the_plan_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/plan.yaml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    assert load_plan("there/plan.yaml").folder == tmp_path / "there/s"
    absolute = PLAN.replace("save: s", f"save: {tmp_path}/runs")
    (tmp_path / "there/plan.yaml").write_text(absolute)
    assert load_plan(Path("there/plan.yaml")).folder == tmp_path / "runs"


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_bytes(b"\xef\xbb\xbf" + PLAN.encode())
    assert load_plan(tmp_path / "plan.yaml").campaign == "c"


def test_a_version_puts_its_decay_over_the_campaigns() -> None:
    plan = plan_of(
        decay={"shape": "knee", "alpha": 0.5, "hold": 0.25},
        versions=[*versions(1000, decay={"alpha": 0.2}), {"name": "w", "iters": 9, "decay": {"shape": "1-sqrt"}}],
    )
    first, second = (plan.decay_of(version) for version in plan.versions)
    assert (first.shape, first.alpha, first.spec().hold) == ("knee", 0.2, 0.25)
    assert (second.shape, second.alpha) == ("1-sqrt", 0.5)
    assert second.hold is None  # the knee's


def test_defaults() -> None:
    plan = parse_plan(PLAN, base=BASE)
    assert (plan.lr.max, plan.lr.min, plan.lr.warmup_iters) == (3e-4, 3e-5, 0)
    assert (plan.decay.shape, plan.decay.alpha, plan.paradigm) == ("cosine", 0.6, ("lrps",))
    assert plan.decay.spec().hold == 0.0
    assert plan_of(decay={"shape": "knee"}).decay.spec().hold == 0.5
    assert plan.launch.device == "gpu"


# The accepted plan


def full_plan() -> Plan:
    return plan_of(
        campaign="1e5",
        decay={"shape": "multi-step", "steps": [[0.8, 0.3]], "alpha": 0.5},
        versions=[
            {"name": "007", "iters": "1K", "train": [[1, "data/a"]], "valid": {"web": "data/v"}},
            {"name": "2024-11-01", "tokens": "1M", "decay": {"shape": "1-sqrt"}},
        ],
        tokenizer={"type": "null", "model": "t.model", "vocab_size": 100},
        megatron={"a": "7e3", "b": 3e-5, "c": [1, "x", "on"], "d": True, "e": "2024-01-01", "f": "1_0"},
        launch={"device": "cpu"},
    )


def test_the_accepted_plan_reads_the_same_from_any_folder() -> None:
    plan = full_plan()
    text = plan_text(plan)
    again = parse_plan(text, base=Path("/elsewhere"))
    assert again.folder == plan.folder == BASE / "runs/c"
    assert again.versions[0].train == ((1.0, BASE / "data/a"),)
    assert again.versions[0].valid == {"web": BASE / "data/v"}
    assert again.tokenizer
    assert again.tokenizer.model == BASE / "t.model"
    assert again.megatron == plan.megatron
    assert [version.name for version in again.versions] == ["007", "2024-11-01"]
    assert expand(again).paths == expand(plan).paths
    assert plan_hash(again) == plan_hash(plan)
    assert plan_text(again) == text


def test_the_hash_is_of_the_meaning() -> None:
    one = parse_plan(PLAN + "lr: {max: 3e-4, min: 3e-5}\n", base=BASE)
    same = "lr: {min: 0.00003, max: 0.0003}  # both\n" + PLAN.replace("1000", "1K").replace("save: s", "save: x/../s")
    assert plan_hash(parse_plan(same, base=BASE)) == plan_hash(one)
    assert re.fullmatch("[0-9a-f]{64}", plan_hash(one))
    assert plan_hash(
        parse_plan(PLAN.replace("save: s", "save: /t/s") + "lr: {max: 3e-4, min: 3e-5}", base=BASE)
    ) == plan_hash(one)
    for changed in (PLAN.replace("1000", "1001"), PLAN + "lr: {max: 1e-4}\n"):
        assert plan_hash(parse_plan(changed, base=BASE)) != plan_hash(one)
