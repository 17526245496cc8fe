"""From a campaign's checkpoint to a folder that transformers computes with, by the command line."""

import json
import math
import shutil
from pathlib import Path
from pydoc_data import topics

import pytest
import torch
from conftest import Lrps
from convert.hugging_face import save_model
from convert.models import VOCAB, write_llama_campaign
from safetensors.torch import load_file, save_file
from training.campaigns import train_path

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events, read_record
from megatron_lrps.convert.huggingface_import import plan_import
from megatron_lrps.convert.logits_check import compare_logits
from megatron_lrps.convert.model_flags import flags_of
from megatron_lrps.convert.probe import probe_of
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.data.sentencepiece_training import load_processor

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan of a campaign whose v1 is trained by two tensor-parallel ranks in bf16."""
    folder = tmp_path_factory.mktemp("campaign")
    plan = write_llama_campaign(folder, extra=", tensor-model-parallel-size: 2", processes=2)
    for path in ("main", "v1"):
        ended = train_path(plan, path, ranks=2)
        assert ended.codes == [0, 0], ended.log[-3000:]
    return plan


def test_a_version_is_exported_checked_and_there_the_second_time(campaign: Path, lrps: Lrps) -> None:
    code, out, err = lrps("export", campaign, "v1", "--json")
    assert code == 0, err
    assert "comparing logits at 32 tokens (--no-check leaves it out)" in err
    facts = json.loads(out)
    folder = campaign.parent / "run" / "exports" / "v1"
    assert facts["folder"] == str(folder)
    assert facts["check"]["difference"] < 1e-4
    assert facts["check"]["megatron_loss"] == pytest.approx(facts["check"]["export_loss"], abs=1e-6)
    weights = load_file(folder / "model.safetensors")
    assert weights["model.embed_tokens.weight"].shape == (VOCAB, 64)  # of 512 rows, padded for two ranks
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True
    card = (folder / "README.md").read_text()
    assert "main (0, 4\\] -&gt; v1 (4, 8\\]" in card
    assert "cosine from 0.003 to 0.0003 (4, 8\\]" in card
    assert "| v1 | data/v1 | 32 | 0 |" in card
    own = CampaignFolder(campaign.parent / "run").path("v1")
    assert [event["iteration"] for event in events(own) if event["event"] == "exported"] == [8]
    code, out, _ = lrps("export", campaign, "v1")
    assert code == 0
    assert "was there already" in out
    code, _, err = lrps("export", campaign, "v1", "--dtype", "fp32")
    assert code == 78
    assert "was not made from" in err


def test_a_version_is_exported_for_megatron_as_a_checkpoint_and_as_one_file(campaign: Path, lrps: Lrps) -> None:
    exports = campaign.parent / "run" / "exports"
    command = ["export", campaign, "v1", "--format", "torch_dist", "--pipeline-parallel", "2", "--check", "--json"]
    code, out, err = lrps(*command)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["folder"] == str(exports / "v1-tp1-pp2")
    assert facts["check"]["difference"] == 0.0
    assert facts["check"]["megatron_loss"] == facts["check"]["export_loss"]
    assert (exports / "v1-tp1-pp2" / "latest_checkpointed_iteration.txt").read_text() == "release"
    code, out, err = lrps("export", campaign, "v1", "--format", "torch")
    assert code == 0, err
    assert "weights_only=True) opens it" in out
    content = torch.load(exports / "v1-torch" / "model.pt", weights_only=True)
    assert content["args"]["padded_vocab_size"] == content["model"]["embedding.word_embeddings.weight"].shape[0] == 512
    assert "decoder.layers.1.input_layernorm.weight" in content["model"]  # trained with the local layer spec
    recorded = read_record(CampaignFolder(campaign.parent / "run").path("v1"))
    assert recorded is not None
    assert {"exports/v1-tp1-pp2", "exports/v1-torch"} <= recorded["exports"].keys()
    assert recorded["exports"]["exports/v1-torch"]["format"] == "torch"
    for flags, message in (
        (["--tensor-parallel", "2"], "--tensor-parallel 2 does not apply to --format hf"),
        (["--format", "torch", "--shard-gb", "1"], "--shard-gb 1.0 does not apply to --format torch"),
        (["--format", "torch", "--check"], "--check does not apply to --format torch"),
        (["--format", "onnx"], "--format onnx is unknown"),
    ):
        code, _, err = lrps("export", campaign, "v1", *flags)
        assert code == 78
        assert message in err


def test_a_changed_weight_does_not_pass_the_check(campaign: Path, lrps: Lrps) -> None:
    folder = campaign.parent / "changed"
    assert lrps("export", campaign, "v1", "--output", folder, "--no-check").code == 0
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.self_attn.v_proj.weight"][3, 5] += 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, _, err = lrps("export", campaign, "v1", "--output", folder, "--check")
    assert code == 78
    assert "its logits differ from Megatron's by" in err
    assert folder.exists()  # it was there before


def test_perplexity_of_the_standard_librarys_documentation_is_megatrons(campaign: Path, lrps: Lrps) -> None:
    folder = campaign.parent / "perplexity"
    assert lrps("export", campaign, "v1", "--output", folder, "--no-check").code == 0
    processor = load_processor(campaign.parent / "data" / "tokenizer.model")
    ids = processor.encode("\n".join(topics.topics[name] for name in ("assert", "with", "while")))
    assert len(ids) > 32 * 64
    tokens = [ids[32 * number : 32 * (number + 1)] for number in range(64)]
    saved = Checkpoint(campaign.parent / "run" / "paths" / "v1" / "checkpoints", 8).folder
    probe = probe_of(open_checkpoint(saved).args, vocab=VOCAB, elements=1)
    found = compare_logits(saved, folder, probe._replace(batches=[tokens], kept=[32]), dtype=None)
    assert 1 < math.exp(found.export_loss) < 2 * VOCAB
    assert math.exp(found.export_loss) == pytest.approx(math.exp(found.megatron_loss), rel=1e-6)


def test_what_is_not_there_or_was_not_trained_with_is_named(campaign: Path, lrps: Lrps) -> None:
    code, _, err = lrps("export", campaign, "v2")
    assert code == 78
    assert "v2 has no checkpoint of iteration 14, where it ends; there is none" in err
    code, _, err = lrps("export", campaign, "v1", "--iteration", "7")
    assert "v1 has no checkpoint of iteration 7; there are 8." in err
    copied = Path(shutil.copytree(campaign.parent, campaign.parent.with_name("copied")))
    model = copied / "data" / "tokenizer.model"
    model.write_bytes(model.read_bytes() + b"\x12\x00")
    code, _, err = lrps("export", copied / "plan.yaml", "v1")
    assert code == 78
    assert "The tokenizer's content is" in err
    torn = next(Checkpoint(copied / "run" / "paths" / "v1" / "checkpoints", 8).folder.glob("*.distcp"))
    torn.write_bytes(torn.read_bytes()[:-1])
    shutil.copyfile(campaign.parent / "data" / "tokenizer.model", model)
    code, _, err = lrps("export", copied / "plan.yaml", "v1")
    assert code == 78
    assert "is damaged" in err
    assert not list((copied / "run").rglob(".v1.partial"))


def test_a_main_path_starts_from_an_imported_model(tmp_path: Path, lrps: Lrps) -> None:
    source = save_model(tmp_path / "llama", "qwen3")
    plan = write_llama_campaign(tmp_path)
    code, _, err = lrps("import", source, "--plan", plan)
    assert code == 78
    assert "The plan is of another model: num-layers is 2" in err
    flags = {flag: value for flag, value in flags_of(plan_import(source).model).items() if value is not False}
    text = plan.read_text()
    begin, end = text.index("megatron: {"), text.index("launch:")
    other = {
        "micro-batch-size": 2,
        "eval-interval": 100,
        "save-interval": 100,
        "pretrained-checkpoint": "run/imports/llama",
    }
    text = f"{text[:begin]}megatron: {json.dumps(flags | other)}\n{text[end:]}"
    text = text.replace("{type: sentencepiece, model: data/tokenizer.model}", '{type: "null", vocab_size: 111}')
    plan.write_text(text.replace("max: 3.0e-3, min: 3.0e-4", "max: 1.0e-9, min: 1.0e-10"))
    code, out, err = lrps("import", source, "--plan", plan)
    assert code == 0, err
    assert "Logits differ by at most" in out
    ended = train_path(plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    code, _, err = lrps("export", plan, "main", "--output", tmp_path / "back", "--no-check")
    assert code == 0, err
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    # A learning rate of 1e-9 moves each weight by at most 11 of it, in fp32.
    assert all(torch.allclose(before[key], after[key], atol=1e-7, rtol=0) for key in before)
