"""A path's Megatron flags: what the plan says, what passes through, what is refused by name."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.flags import DEFAULTS, OWNED, argument_line, path_flags, warmup_init
from megatron_lrps.plan.refused_flags import UNSAFE
from tests.plan.plans import BASE, assert_one_clear_line, plan_of, tree_of, versions


def flags_of(path: str = "v1", **keys: Any) -> dict[str, Any]:
    tree = tree_of(**keys)
    return path_flags(tree, tree.path(path))


def refused(*parts: str, **keys: Any) -> None:
    with pytest.raises(PlanError) as caught:
        flags_of(**keys)
    assert_one_clear_line(caught.value, *parts)


def test_what_the_plan_says() -> None:
    flags = flags_of("v2", lr={"max": 3e-4, "min": 3e-5, "warmup_iters": 7})
    expected = {
        "seq-length": 16,
        "max-position-embeddings": 16,
        "global-batch-size": 8,
        "lr": 3e-4,
        "min-lr": 3e-5,
        "lr-warmup-iters": 7,
        "lr-decay-style": "constant",  # the plugin's scheduler draws the curve
        "train-iters": 2000,
        "save": str(BASE / "runs/c/paths/v2/checkpoints"),
        "tensorboard-dir": str(BASE / "runs/c/tensorboard/v2"),
        "data-cache-path": str(BASE / "runs/c/cache"),
        "eval-iters": 0,
    }
    assert expected.items() <= flags.items()
    assert DEFAULTS.items() <= flags.items()
    assert "load" not in flags


def test_every_path_trains_to_its_own_end() -> None:
    tree = tree_of(paradigm=["lrps", "ptfs", "cpt"])
    assert {path.name: path_flags(tree, path)["train-iters"] for path in tree.paths} == {
        "main": 1400,
        "v1": 1000,
        "v2": 2000,
        "ptfs-v1": 1000,
        "ptfs-v2": 2000,
        "cpt-v1": 1000,
        "cpt-v2": 2000,
    }


def test_megatrons_flags_pass_through_and_win_over_defaults() -> None:
    flags = flags_of(megatron={"num-layers": 24, "bf16": True, "micro-batch-size": 4, "save-interval": 50})
    assert (flags["num-layers"], flags["bf16"], flags["micro-batch-size"], flags["save-interval"]) == (24, True, 4, 50)


def test_tokenizer_and_validation_sets() -> None:
    keys: dict[str, Any] = {
        "tokenizer": {"type": "huggingface", "model": "tok", "vocab_size": 100},
        "versions": [
            {"name": "a", "iters": 10, "valid": {"web": "w", "code": "k"}},
            {"name": "b", "iters": 10, "valid": {"web": "w", "math": "m"}},
        ],
    }
    flags = flags_of("b", **keys)
    assert flags["tokenizer-type"] == "HuggingFaceTokenizer"
    assert flags["tokenizer-model"] == str(BASE / "tok")
    assert flags["vocab-size"] == 100
    assert flags["validation-set-names"] == ["a-web", "a-code", "b-math"]
    assert flags["full-validation"] is True
    assert flags_of("a", **keys)["validation-set-names"] == ["a-web", "a-code"]
    assert flags_of(tokenizer={"type": "MyTokenizer"})["tokenizer-type"] == "MyTokenizer"


@pytest.mark.parametrize("flag", sorted(OWNED))
def test_flags_that_the_plan_owns_are_refused_by_name(flag: str) -> None:
    refused(
        f"megatron.{flag}: 1 is given, but the plan's {OWNED[flag]} decides it",
        f"set {OWNED[flag]}",
        megatron={flag: 1},
    )


@pytest.mark.parametrize("flag", sorted(UNSAFE))
def test_unsafe_flags_are_refused_by_name_and_reason(flag: str) -> None:
    refused(f"megatron.{flag}: True is refused: {UNSAFE[flag]}", "remove it", megatron={flag: True})
    assert f"--{flag}" not in argument_line(flags_of(megatron={flag: False}))


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("ckpt-format", "torch", "'torch' is given, but a campaign needs 'torch_dist'"),
        ("dataloader-type", "cyclic", "'cyclic' is given, but a campaign needs 'single'"),
        ("exit-signal-handler", False, "False is given, but a campaign needs True"),
        ("exit-signal-handler", 1, "1 is given, but a campaign needs True"),  # would become `--exit-signal-handler 1`
        ("lrps-path", "v2", "the plugin's own flags"),
        ("lr-warmup-init", "abc", "'abc' is not a number in [0, lr.max]"),
        ("lr-warmup-init", [1e-5], "[1e-05] is not a number"),
        ("lr-warmup-init", True, "True is not a number"),
        ("lr-warmup-init", 1e-3, "0.001 is not a number in [0, lr.max]"),
        ("lr-warmup-init", -1e-9, "-1e-09 is not a number in [0, lr.max]"),
        ("lr-warmup-init", 10**400, "is not a number in [0, lr.max]"),
    ],
)
def test_values_that_a_campaign_cannot_have(flag: str, value: Any, says: str) -> None:
    refused(f"megatron.{flag}: ", says, megatron={flag: value})


def test_needed_values_may_be_repeated() -> None:
    given = {"ckpt-format": "torch_dist", "dataloader-type": "single", "exit-signal-handler": True}
    assert given.items() <= flags_of(megatron=given).items()


def test_warmup_init() -> None:
    assert warmup_init(plan_of()) == 0.0
    assert warmup_init(plan_of(megatron={"lr-warmup-init": 1e-5})) == 1e-5


def test_the_cpu_backends_flags() -> None:
    assert CPU_FLAGS.items() <= flags_of(launch={"device": "cpu"}).items()
    assert CPU_FLAGS.items() <= flags_of(launch={"device": "cpu"}, megatron={"num-workers": 0}).items()
    assert "transformer-impl" not in flags_of()
    says = "megatron.transformer-impl: 'transformer_engine' is given, but the CPU backend runs only with 'local'"
    refused(says, "launch.device: gpu", launch={"device": "cpu"}, megatron={"transformer-impl": "transformer_engine"})


def test_the_argument_line() -> None:
    flags = {"lr": 3e-4, "swiglu": True, "bf16": False, "names": ["a b", 2, 0.5], "min-lr": 1e-10, "n": 10**6, "t": "x"}
    line = [
        "--lr",
        "0.0003",
        "--swiglu",
        "--names",
        "a b",
        "2",
        "0.5",
        "--min-lr",
        "1e-10",
        "--n",
        "1000000",
        "--t",
        "x",
    ]
    assert argument_line(flags) == line


@pytest.mark.parametrize("rate", [3e-4, 0.1 + 0.2, 1 / 3, 5e-324, 1.7e308])
def test_rates_reach_megatron_to_the_last_bit(rate: float) -> None:
    line = argument_line(flags_of(lr={"max": rate, "min": 0.0}))
    assert float(line[line.index("--lr") + 1]) == rate


def test_a_version_name_in_a_folder_stays_inside_of_save() -> None:
    flags = flags_of("v1", versions=versions(1000), save="../other")
    assert flags["save"] == "/other/paths/v1/checkpoints"
