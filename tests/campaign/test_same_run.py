"""What must agree between a run and the checkpoint that it continues."""

import copy
import dataclasses
from typing import Any

import pytest

from megatron_lrps.campaign.past_arguments import allowed
from megatron_lrps.campaign.same_run import (
    Identity,
    refuse_other_data,
    refuse_other_position,
    refuse_other_run,
)
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import CLASSES, arguments
from megatron_lrps.schedule import Batches

SAVED: dict[str, Any] = {
    "lr": 3e-4,
    "min_lr": 3e-5,
    "global_batch_size": 8,
    "seq_length": 16,
    "num_layers": 2,
    "bf16": True,
    "use_distributed_optimizer": True,
    "tensor_model_parallel_size": 2,
    "pipeline_model_parallel_size": 1,
    "data_parallel_size": 4,
    "context_parallel_size": 1,
    "train_iters": 700,
    "save": "main",
}


def refused_run(saved: dict[str, Any], **changed: Any) -> str:
    with pytest.raises(RefusedError) as refusal:
        refuse_other_run(saved, {**SAVED, **changed}, "main/iter_0000400")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_belongs_to_a_path_may_differ() -> None:
    refuse_other_run(SAVED, {**SAVED, "train_iters": 900, "save": "v1", "new_flag": 1}, "c")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": 1e-4}, ["--lr: 0.0001 in this run, 0.0003 in main/iter_0000400", "give 0.0003"]),
        ({"min_lr": 0.0}, ["--min-lr: 0.0 in this run, 3e-05"]),
        ({"global_batch_size": 16}, ["--global-batch-size: 16 in this run, 8 in"]),
        ({"num_layers": 3}, ["--num-layers: 3 in this run, 2 in", "another model"]),
        ({"use_distributed_optimizer": False}, ["--use-distributed-optimizer: False in this run, True in"]),
        ({"tensor_model_parallel_size": 1}, ["TP=1 in this run, TP=2 in", "run with TP=2"]),
        (
            {"pipeline_model_parallel_size": 2, "data_parallel_size": 2},
            ["PP=2 DP=2 in this run, PP=1 DP=4 in", "run with PP=1 DP=4"],
        ),
    ],
)
def test_what_would_train_wrongly_is_refused(changed: dict[str, Any], words: list[str]) -> None:
    text = refused_run(SAVED, **changed)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("key", "there", "here", "words"),
    [
        ("squared_relu", False, True, "--squared-relu: True in this run, False in c: it makes it another model"),
        ("swiglu", True, False, "give --swiglu, or"),
        ("openai_gelu", True, False, "give --openai-gelu, or"),
        ("add_bias_linear", True, False, "--disable-bias-linear (add_bias_linear): False in this run, True in c"),
        ("add_bias_linear", False, True, "give --disable-bias-linear, or"),
        ("layernorm_epsilon", 1e-5, 1e-6, "--norm-epsilon (layernorm_epsilon): 1e-06 in this run, 1e-05 in c"),
        ("rotary_percent", 1.0, 0.5, "--rotary-percent: 0.5 in this run, 1.0 in c"),
        ("rotary_base", 10000, 500000, "--rotary-base: 500000 in this run, 10000 in c"),
        ("window_size", None, (16, 0), "drop --window-size, or"),
        ("moe_router_score_function", "softmax", "sigmoid", "--moe-router-score-function: sigmoid in this run"),
        ("moe_aux_loss_coeff", 0.01, 0.0, "it changes the loss"),
        ("hidden_dropout", 0.1, 0.0, "(or --lrps-allow hidden_dropout)"),
        ("clip_grad", 1.0, 0.0, "it changes how gradients become an update"),
        ("mtp_num_layers", 1, None, "--mtp-num-layers: None in this run, 1 in c: it drops layers"),
        ("spec", None, ["mine", "spec"], "--spec: ['mine', 'spec'] in this run"),
        ("adam_eps", 1e-8, 1e-6, "--adam-eps: 1e-06 in this run, 1e-08 in c"),
        ("loss_scale", None, 1024.0, "number formats"),
        ("padded_vocab_size", 128, 256, "changes what a token is"),
        ("my_noise", 0.1, 0.2, "--my-noise: 0.2 in this run, 0.1 in c: it is no argument of Megatron-Core"),
    ],
)
def test_another_model_loss_or_update_is_refused_unless_it_is_allowed(
    key: str, there: Any, here: Any, words: str
) -> None:
    saved, run = {**SAVED, key: there}, {**SAVED, key: here}
    with pytest.raises(RefusedError) as refusal:
        refuse_other_run(saved, run, "c")
    assert words in str(refusal.value)
    refuse_other_run(saved, run, "c", allow=[key])
    refuse_other_run(saved, saved, "c")


@pytest.mark.parametrize("name", [name for name, each in arguments().items() if CLASSES[each.in_class].compared])
def test_each_argument_of_a_compared_class_is_compared(name: str) -> None:
    saved = {**SAVED, "group_query_attention": True, name: "one"}
    with pytest.raises(RefusedError, match="other in this run, one in c"):
        refuse_other_run(saved, {**saved, name: "other"}, "c")


def test_what_may_differ_does() -> None:
    classes = {name for name, each in CLASSES.items() if not each.compared} - {"layout"}
    names = [name for name, each in arguments().items() if each.in_class in classes]
    assert {"save", "train_iters", "log_interval", "micro_batch_size", "consumed_train_samples"} <= set(names)
    plain = {**SAVED, "use_distributed_optimizer": False}
    refuse_other_run({**plain, **dict.fromkeys(names, 1)}, {**plain, **dict.fromkeys(names, 2)}, "c")


def test_layers_that_predict_more_tokens_cannot_be_added_even_if_they_are_allowed() -> None:
    for saved, run in ((None, 1), (1, 2)):
        both = {**SAVED, "mtp_num_layers": saved}, {**SAVED, "mtp_num_layers": run}
        with pytest.raises(RefusedError, match="no checkpoint has weights or optimizer state of the layers") as refusal:
            refuse_other_run(*both, "c", allow=("mtp_num_layers",))
        assert "--lrps-allow" not in str(refusal.value)
    refuse_other_run({**SAVED, "mtp_num_layers": 1}, SAVED, "c", allow=("mtp_num_layers",))


def test_what_an_older_checkpoint_lacks_is_megatrons_default() -> None:
    refuse_other_run(SAVED, {**SAVED, "qk_l2_norm": False, "mtp_num_layers": None, "ffn_hidden_size": 64}, "c")
    assert "--qk-l2-norm: True in this run, False in" in refused_run(SAVED, qk_l2_norm=True)
    assert "--mtp-num-layers: 1 in this run, None in" in refused_run(SAVED, mtp_num_layers=1)
    assert "--hidden-dropout: 0.1 in this run, 0.0 in" in refused_run({**SAVED, "hidden_dropout": 0.0})


def test_a_padded_vocabulary_follows_the_tensor_parallel_size() -> None:
    saved = {**SAVED, "use_distributed_optimizer": False, "padded_vocab_size": 256}
    refuse_other_run(saved, {**saved, "tensor_model_parallel_size": 1, "padded_vocab_size": 128}, "c")


def test_what_may_be_allowed() -> None:
    keys = ["clip-grad", "--norm-epsilon", "hidden_dropout", "my_noise", "disk", "dist_ckpt_optim_fully_reshardable"]
    assert allowed(keys, ["my_noise"]) == [
        "clip_grad",
        "layernorm_epsilon",
        "hidden_dropout",
        "my_noise",
        "disk",
        "dist_ckpt_optim_fully_reshardable",
    ]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lr", "it may not differ: Megatron makes it part of the optimizer's identity"),
        ("min-lr", "it may not differ"),
        ("global_batch_size", "it may not differ: positions are counted in it"),
        ("seq_length", "it may not differ"),
        ("num_layers", "it may not differ: it makes it another model, with weights of other sizes"),
        ("log_interval", "it may differ anyway, as it changes what is logged"),
        ("clip_gard", "Megatron has no such argument. Fix: did you mean clip_grad?"),
    ],
)
def test_what_may_not_be_allowed(key: str, words: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        allowed([key], [])
    assert f"--lrps-allow {key}: {words}" in str(refusal.value)


def test_the_fork_must_be_where_its_iteration_says() -> None:
    refuse_other_position({**SAVED, "consumed_train_samples": 3200}, 400, "c")
    refuse_other_position(SAVED, 400, "c")
    with pytest.raises(RefusedError, match="c has read 2,400 samples, and 400 iterations of 8 are 3,200"):
        refuse_other_position({**SAVED, "consumed_train_samples": 2400}, 400, "c")


def test_a_batch_that_rises_must_be_the_plans() -> None:
    """SAVED has 8 samples of 16 tokens; the plan goes on with 16 after iteration 500."""
    grown = Batches.of(8, [(4000, 16)])
    here = {**SAVED, "seq_length": 16, "consumed_train_samples": 3200}
    refuse_other_position(here, 400, "c", planned=grown, drawn=500)
    with pytest.raises(
        RefusedError, match=r"trained with a batch of 8, and the plan's is 8 \(16 from iteration 501 on\)"
    ):
        refuse_other_position(here, 400, "c", planned=grown, drawn=600)
    later = {**here, "step_batch_size_schedule": "0:8 64000:16", "consumed_train_samples": 4160}
    refuse_other_position(later, 510, "c", planned=grown)
    with pytest.raises(RefusedError, match="has read 4,159 samples, and 510 iterations of the plan's batches"):
        refuse_other_position({**later, "consumed_train_samples": 4159}, 510, "c", planned=grown)
    with pytest.raises(RefusedError, match="without a plan a branch counts iterations of one global batch"):
        refuse_other_position(later, 510, "c")


def test_without_the_distributed_optimizer_the_layout_may_change() -> None:
    plain = {**SAVED, "use_distributed_optimizer": False}
    refuse_other_run(plain, {**plain, "tensor_model_parallel_size": 1, "data_parallel_size": 8}, "c")


def window(version: str, iterations: int, *data: tuple[float, str]) -> dict[str, Any]:
    return {
        "version": version,
        "iterations": iterations,
        "data": [
            [weight, f"data/{name}", {"idx_sha256": name * 8, "bin_bytes": 100, "bin_sample_sha256": name * 9}]
            for weight, name in data
        ],
    }


WINDOWS = [window("v1", 10, (0.7, "web"), (0.3, "code")), window("v2", 10, (1.0, "news"))]


def identity(windows: list[dict[str, Any]] = WINDOWS, tokenizer: str | None = "t" * 64, order: str = "chained") -> Any:
    return Identity(windows=copy.deepcopy(windows), tokenizer=tokenizer, order=order)


def refused_data(run: Identity, iteration: int) -> str:
    with pytest.raises(RefusedError) as refusal:
        refuse_other_data(identity().to_json(), run, iteration, "c")
    return str(refusal.value)


def test_the_same_data_and_more_windows_pass() -> None:
    refuse_other_data(identity().to_json(), identity([*WINDOWS, window("v3", 5, (1.0, "x"))]), 20, "c")


def test_the_same_content_elsewhere_passes() -> None:
    moved = copy.deepcopy(WINDOWS)
    moved[0]["data"][0][1] = "/another/disk/web"
    refuse_other_data(identity().to_json(), identity(moved), 20, "c")


def test_another_tokenizer_is_refused() -> None:
    text = refused_data(identity(tokenizer="u" * 64), 1)
    assert "uuuuuuuuuuuuuuuu... in this run, tttttttttttttttt... in c" in text
    assert "None in this run" in refused_data(identity(tokenizer=None), 1)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (window("w1", 10, (0.7, "web"), (0.3, "code")), "versions.v1.name: w1 in this run, v1 in c"),
        (window("v1", 11, (0.7, "web"), (0.3, "code")), "versions.v1.iters: 11 in this run, 10 in c"),
        (
            window("v1", 10, (0.7, "web")),
            "versions.v1.train: [(0.7, 'data/web')] in this run, [(0.7, 'data/web'), (0.3, 'data/code')] in c",
        ),
        (
            window("v1", 10, (0.6, "web"), (0.3, "code")),
            "versions.v1.train: [(0.6, 'data/web'), (0.3, 'data/code')] in this run, [(0.7, 'data/web'), (0",
        ),
        (
            window("v1", 10, (0.7, "wob"), (0.3, "code")),
            "data/wob (idx sha256 wobwobwobwobwobw...) in this run, data/web (idx sha256 webwebwebwebwebw...) in c",
        ),
    ],
)
def test_other_data_are_refused(first: dict[str, Any], words: str) -> None:
    assert words in refused_data(identity([first, WINDOWS[1]]), 5)


def test_another_replay_is_refused_from_its_window_on() -> None:
    replay = {"share": 0.1, "samples": {"v1": 8}}
    more = {"share": 0.2, "samples": {"v1": 16}}
    old, new = ([WINDOWS[0], {**WINDOWS[1], "replay": each}] for each in (replay, more))
    for run, words in ((new, "0.2 (16 of v1 samples)"), (WINDOWS, "none")):
        with pytest.raises(RefusedError, match=r"versions\.v2\.replay: ") as refusal:
            refuse_other_data(identity(old).to_json(), identity(run), 11, "c")
        assert f"{words} in this run, 0.1 (8 of v1 samples) in c" in str(refusal.value)
        refuse_other_data(identity(old).to_json(), identity(run), 10, "c")


def test_a_window_that_is_not_begun_may_change_unless_all_are_mixed() -> None:
    changed = [WINDOWS[0], window("v2", 10, (1.0, "else"))]
    refuse_other_data(identity().to_json(), identity(changed), 10, "c")
    assert "data/else" in refused_data(identity(changed), 11)
    assert "data/else" in refused_data(identity(changed, order="mixed"), 1)


@pytest.mark.parametrize(
    ("key", "values", "used"),
    [
        ("muon_tp_mode", ("blockwise", "duplicated"), "optimizer"),
        ("rl_generation_lag", (0, None), "perform_rl_step"),
        ("rl_parallel_generation_tasks", (512, None), "perform_rl_step"),
    ],
)
def test_a_default_that_another_release_has_matters_only_where_it_is_read(
    key: str, values: tuple[Any, Any], used: str
) -> None:
    plain = {**SAVED, "optimizer": "adam", "perform_rl_step": False}
    then, now = ({**plain, key: value} for value in values)
    refuse_other_run(then, now, "c")
    reads = {used: {"optimizer": "muon"}.get(used, True)}
    flag = f"--{key.replace('_', '-')}: {values[1]} in this run, {values[0]} in"
    assert flag in refused_run({**then, **reads}, **{**now, **reads})


def test_how_older_releases_read_text_may_differ() -> None:
    """0.16 and 0.17 have other defaults for it; the data of a run are ids."""
    for flag in ("tokenizer_hf_use_fast", "tokenizer_hf_include_special_tokens"):
        refuse_other_run({**SAVED, flag: False}, {**SAVED, flag: True}, "c")


def test_another_blend_is_refused_once_the_branch_has_begun() -> None:
    def blended(*data: tuple[float, str]) -> Identity:
        return dataclasses.replace(
            identity(order="blend"), blend={"version": "v2", "fork": 12, "data": window("v2", 0, *data)["data"]}
        )

    trained = blended((0.5, "web"), (0.5, "books"))
    refuse_other_data(identity().to_json(), trained, 12, "main")  # at its fork
    refuse_other_data(trained.to_json(), trained, 14, "c")
    for other, words in (
        (blended((0.6, "web"), (0.4, "books")), "branch.data: [(0.6, 'data/web'), (0.4, 'data/books')] in this run"),
        (blended((0.5, "web"), (0.5, "other")), "branch.data: data/other"),
    ):
        with pytest.raises(RefusedError) as refusal:
            refuse_other_data(trained.to_json(), other, 14, "c")
        assert words in str(refusal.value)
