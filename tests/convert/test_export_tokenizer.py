"""Ids at export are those of the training: transformers itself reads what is shipped."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from megatron_lrps.convert.export_tokenizer import write_tokenizer
from megatron_lrps.convert.tokenizers_json import sentencepiece_json
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.huggingface_folder import read_folder
from megatron_lrps.data.prepare.encoders.sentencepiece_model import SentencePieceModel
from megatron_lrps.data.prepare.encoders.spec import spec_of
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from tests.data.prepare import tokenizers_of
from tests.plan.plans import plan_of

_NUMBERS = random.Random(5)
_WORDS = ["".join(_NUMBERS.choices("abdeghiklmnoprstuvw", k=_NUMBERS.randrange(2, 9))) for _ in range(300)]
TEXT = "\n".join(" ".join(_NUMBERS.choices(_WORDS, k=12)) + " (x1 = 2.5)." for _ in range(400))
"""Without runs of spaces: of several ways that score the same, sentencepiece's unigram takes any, by rounding."""


def export_folder(folder: Path, family: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family, "vocab_size": 400}))
    return folder


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_sentencepiece_model_is_shipped_as_a_tokenizer_json(algorithm: str, family: str, tmp_path: Path) -> None:
    model = tmp_path / "tokenizer.model"
    train_sentencepiece([TEXT], model, vocab_size=400, algorithm=algorithm)
    folder = export_folder(tmp_path / "export", family)
    shipped = write_tokenizer(TokenizerSpec(type="SentencePieceTokenizer", model=model), folder, max_length=32)
    assert shipped.texts > 800
    assert (folder / "sentencepiece" / "tokenizer.model").read_bytes() == model.read_bytes()
    # Beside a Qwen2 config transformers 5 reads any tokenizer.json as Qwen2's own: other ids.
    where = folder / "tokenizer" if family == "qwen2" else folder
    assert ("in the folder `tokenizer`" in shipped.statement) == (family == "qwen2")
    tokenizer = Tokenizer.from_file(str(where / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    text = "  def </s> x\n\t<0x41> é漢"
    expected = SentencePieceModel(model, cut=False).encode([text]).lists()[0]
    assert tokenizer.encode(text, add_special_tokens=False).ids == expected
    assert tokenizer.decode(expected) == text


def test_a_model_that_cannot_be_said_in_json_is_shipped_alone(tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_prefix=str(tmp_path / "m"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        user_defined_symbols=["<mask>"],  # behind one, sentencepiece puts no space of its own
        minloglevel=2,
    )
    folder = export_folder(tmp_path / "export", "llama")
    shipped = write_tokenizer(
        TokenizerSpec(type="SentencePieceTokenizer", model=tmp_path / "m.model"), folder, max_length=32
    )
    assert shipped.texts == 0
    assert "use it with the sentencepiece library: transformers would give other ids" in shipped.statement
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "sentencepiece"]


def test_a_hugging_face_folder_keeps_its_ids(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(source / "tokenizer.json"))
    settings = {
        "eos_token": "<end>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "auto_map": {"AutoTokenizer": "x.Y"},
    }
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    read = read_folder(source)
    spec = TokenizerSpec(type="HuggingFaceTokenizer", model=source, eod=read.eod, backend=read.backend)
    folder = export_folder(tmp_path / "export", "llama")
    assert write_tokenizer(spec, folder, max_length=32).texts > 800
    written = json.loads((folder / "tokenizer_config.json").read_text())
    assert "auto_map" not in written
    assert written["eos_token"] == "<end>"


@pytest.mark.parametrize("kind", [tokenizers_of.tiktoken_v1, tokenizers_of.tiktoken_v2])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_tiktoken_vocabulary_is_shipped_as_a_tokenizer_json(
    kind: Callable[[Path], dict[str, Any]], family: str, tmp_path: Path
) -> None:
    spec = spec_of(plan_of(tokenizer=kind(tmp_path)))
    folder = export_folder(tmp_path / "export", family)
    shipped = write_tokenizer(spec, folder, max_length=32)
    assert shipped.texts > 400, shipped.statement
    where = folder / "tokenizer" if family == "qwen2" else folder
    tokenizer = Tokenizer.from_file(str(where / "tokenizer.json"))
    reference = load_reference(spec)
    assert tokenizer.get_vocab_size() == reference.vocab_size
    assert tokenizer.token_to_id("</s>") == reference.eod
    texts = [TEXT, *tokenizers_of.TEXTS, *tokenizers_of.HARD]
    assert [each.ids for each in tokenizer.encode_batch(texts)] == reference.encode(texts).lists()
    assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT


def test_a_null_tokenizer_ships_nothing(tmp_path: Path) -> None:
    spec = TokenizerSpec(type="NullTokenizer", vocab_size=111, eod=110)
    assert "no tokenizer" in write_tokenizer(spec, tmp_path, max_length=32).statement
    assert not list(tmp_path.iterdir())


def test_special_tokens_are_the_models_own(tmp_path: Path) -> None:
    train_sentencepiece([TEXT], tmp_path / "m", vocab_size=400)
    assert sentencepiece_json(tmp_path / "m")[1] == ("<s>", "</s>", "<unk>")
