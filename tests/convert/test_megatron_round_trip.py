"""Megatron itself reads what is imported, under another layout, and its own save is exported."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from convert.hugging_face import VOCAB, save_model
from training.harness import train
from training.test_layouts import RESAVE

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.logits_check import compare_logits
from megatron_lrps.convert.megatron_export import plan_weights, write_torch_dist
from megatron_lrps.convert.model_flags import flags_of
from megatron_lrps.convert.probe import probe_of
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.weight_files import read_folder
from megatron_lrps.convert.weighted_mean import plan_mean, write_mean
from megatron_lrps.storage.files import write_atomic

pytestmark = pytest.mark.training

BASE = (
    "--seq-length 32 --micro-batch-size 1 --global-batch-size 2 --lr 1e-3 --min-lr 1e-4 --lr-decay-style constant"
    " --eval-iters 0 --eval-interval 100 --save-interval 100 --tokenizer-type NullTokenizer"
    " --log-interval 1 --ckpt-format torch_dist"
    f" --attention-dropout 0 --hidden-dropout 0 --mock-data --train-iters 1 --vocab-size {VOCAB}"
)
TP2_PP2 = "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2"
EP2_PP2 = "--expert-model-parallel-size 2 --pipeline-model-parallel-size 2"
"""Of experts: without tensor parallelism, beside which Megatron wants sequence parallelism."""


def megatron_line(model_flags: dict[str, object]) -> str:
    """Flags as a line that is split at its spaces."""
    words = []
    for flag, value in model_flags.items():
        if value is not False:
            words += [f"--{flag}"] if value is True else [f"--{flag}", str(value)]
    return " ".join(words)


def compare_means(resaved: Path, folder: Path, model: Model) -> None:
    """A mean has the same bits of a checkpoint that several ranks saved and of one with the same whole tensors.

    Args:
        resaved: What TP2 x PP2 saved, of a model of four layers.
        folder: For the means.
        model: The model.
    """
    key, chunks = "decoder.layers.mlp.linear_fc1.weight", (2 * 4 * (1 if model.ungated else 2), 4)
    if model.pattern:
        key, chunks = "decoder.layers.0.mixer.in_proj.weight.x", (2, 1)
    several, one, later = (Checkpoint(folder / name, 10 * place) for place, name in enumerate(("a", "b", "c"), start=1))
    shutil.copytree(resaved, several.folder)
    write_mean(plan_mean([several], [1.0]), one)
    write_mean(plan_mean([several], [0.9]), later)  # other values
    cut, whole = (open_checkpoint(each.folder).tensors[key] for each in (several, one))
    assert (len(cut.chunks), len(whole.chunks)) == chunks  # gate and up projection are chunks of their own
    means = Checkpoint(folder / "d", 30), Checkpoint(folder / "e", 30)
    for first, mean in zip((several, one), means, strict=True):
        write_mean(plan_mean([first, later], [0.3, 0.7]), mean)
    found = [open_checkpoint(mean.folder) for mean in means]
    assert found[0].tensors.keys() == found[1].tensors.keys()
    for key, stored in found[0].tensors.items():
        assert torch.equal(*(each.read(key, (), 0, stored.shape[0]).view(torch.uint8) for each in found))


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "qwen2_moe",
        *(
            pytest.param(name, marks=pytest.mark.soak)
            for name in (
                "llama-3.2",
                "llama-linear",
                "qwen2-yarn",
                "qwen2-windows",
                "qwen3-windows",
                "llama-tied-biased",
                "mistral",
                "ministral",
                "smollm3-windows",
                "phi3-partial",
                "seed_oss",
                "ernie4_5",
                "qwen2",
                "qwen3",
                "mixtral",
                "qwen3_moe",
                "qwen3_moe-dense",
                "glm4_moe",
                "glm4_moe-groups",
                "deepseek_v3",
                "deepseek_v3-plain",
                "kimi_k2",
                "deepseek_v2",
                "deepseek_v2-groups",
                "gpt_oss",
                "gpt2",
                "nemotron_h",
                "nemotron_h-experts",
            )
        ),
    ],
)
def test_hugging_face_to_tp2_pp2_and_back_is_bit_identical(name: str, tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", name)
    planned = plan_import(source)
    imported = write_import(planned, tmp_path / "imported").folder
    flags = flags_of(planned.model) | {"max-position-embeddings": planned.model.positions}
    layout = EP2_PP2 if planned.model.experts else TP2_PP2
    train(
        tmp_path / "run",
        f"{megatron_line(flags)} {layout} --load {imported} --save {tmp_path / 'unused'} --no-load-optim --no-load-rng",
        ranks=4,
        base=BASE,
        code=RESAVE,
        env={"RESAVE": str(tmp_path / "resaved")},
        timeout=500,
    )
    resaved = Checkpoint(tmp_path / "resaved", 0).folder
    if not planned.model.experts:
        compare_means(resaved, tmp_path / "means", planned.model)
    request = plan_export(open_checkpoint(resaved), vocab=VOCAB, family=planned.model.family)

    def around(hidden: Path) -> None:
        write_atomic(hidden / "config.json", json.dumps(config_of(request.model, dtype="float32", bos=1, eos=2)))

    write_export(request, tmp_path / "exported", around=around)
    before, after = read_folder(source), read_folder(tmp_path / "exported")
    assert before.keys() == after.keys()
    assert not [key for key in before if not torch.equal(before[key].read(), after[key].read())]
    probe = probe_of(request.checkpoint.args, vocab=VOCAB, elements=1)
    found = compare_logits(resaved, tmp_path / "exported", probe, dtype=None)
    assert found.difference < 1e-5
    assert abs(found.megatron_loss - found.export_loss) < 1e-6


@pytest.mark.parametrize(
    ("name", "layout", "ranks"),
    [
        ("llama", {"tensor": 2, "pipeline": 2}, 4),
        pytest.param("qwen2", {"tensor": 2}, 2, marks=pytest.mark.soak),
        pytest.param("gpt2", {"pipeline": 4}, 4, marks=pytest.mark.soak),
        pytest.param("qwen3_moe", {"pipeline": 2, "expert": 2}, 4, marks=pytest.mark.soak),
        # Experts that are whole on a rank, beside attention that is split, and the other way round.
        pytest.param(
            "deepseek_v3", {"tensor": 2, "pipeline": 2, "expert": 2, "expert_tensor": 1}, 4, marks=pytest.mark.soak
        ),
        pytest.param("qwen2_moe", {"pipeline": 2, "expert_tensor": 2}, 4, marks=pytest.mark.soak),
        pytest.param("nemotron_h", {"tensor": 2, "pipeline": 2}, 4, marks=pytest.mark.soak),
        pytest.param("nemotron_h-experts", {"pipeline": 2, "expert": 2}, 4, marks=pytest.mark.soak),
    ],
)
def test_megatron_loads_an_export_at_its_new_layout_by_its_own_arguments(
    name: str, layout: dict[str, int], ranks: int, tmp_path: Path
) -> None:
    planned = plan_import(save_model(tmp_path / "source", name))
    imported = write_import(planned, tmp_path / "imported").folder
    flags = megatron_line(flags_of(planned.model) | {"max-position-embeddings": planned.model.positions})
    # As a run of one rank saves it, with all arguments. The first loss is that of the weights as they were loaded.
    resave = {"base": BASE, "code": RESAVE, "timeout": 500}
    one = train(
        tmp_path / "one",
        f"{flags} --load {imported} --save {tmp_path / 'unused'} --make-vocab-size-divisible-by 56",
        env={"RESAVE": str(tmp_path / "saved")},
        **resave,
    )
    saved = Checkpoint(tmp_path / "saved", 0).folder
    weights = plan_weights(open_checkpoint(saved), vocab=VOCAB, layout=Layout(**layout))
    assert weights.padded == 112  # 2 x 56, under either layout, as Megatron's loss counts the padding
    target = tmp_path / "exported"
    write_torch_dist(weights, target, around=lambda hidden: None)
    beside = "--sequence-parallel" if planned.model.experts and layout.get("tensor") else ""  # Megatron wants it
    several = train(
        tmp_path / "several",
        f"--load {target} --save {tmp_path / 'unused'} {' '.join(weights.flags)} {beside}",
        ranks=ranks,
        env={"RESAVE": str(tmp_path / "resaved")},
        **resave,
    )
    again = Checkpoint(tmp_path / "resaved", 0).folder
    probe = probe_of(weights.args, vocab=VOCAB, elements=1)
    found = compare_logits(saved, again, probe, dtype=None, by="Megatron")
    assert found.difference < 1e-5
    assert found.megatron_loss == pytest.approx(found.export_loss, abs=1e-6)
    assert several.losses[1] == pytest.approx(one.losses[1], abs=1e-5)
