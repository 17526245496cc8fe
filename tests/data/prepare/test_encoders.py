"""Ids, vocabulary size and EOD are those of Megatron's own tokenizer objects, by whatever library encodes."""

import json
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_lrps.data.prepare.encoders import (
    Encoder,
    TokenizerSpec,
    gigatoken_engine,
    load_encoder,
    load_reference,
    spec_of,
)
from megatron_lrps.data.prepare.encoders.sentencepiece_model import CUT_LENGTH, parts
from megatron_lrps.data.sentencepiece_training import load_processor, train_sentencepiece
from megatron_lrps.errors import RefusedError
from tests.data.prepare import tokenizers_of
from tests.data.prepare.megatron import megatron_tokenizer
from tests.data.prepare.tokenizers_of import HARD, TEXTS
from tests.plan.plans import plan_of

KINDS: list[tuple[Callable[[Path], dict[str, Any]], str]] = [
    (tokenizers_of.sentencepiece_bpe, "sentencepiece"),
    (tokenizers_of.sentencepiece_unigram, "sentencepiece"),
    (tokenizers_of.sentencepiece_llama, "sentencepiece"),
    (tokenizers_of.sentencepiece_normalizing, "sentencepiece"),
    (tokenizers_of.huggingface, "gigatoken"),
    (tokenizers_of.huggingface_bos, "gigatoken"),
    (tokenizers_of.huggingface_digits, "tokenizers"),
    (tokenizers_of.tiktoken_v1, "tiktoken"),
    (tokenizers_of.tiktoken_v2, "gigatoken"),
]


def assert_ids(encoder: Encoder, texts: list[str], expected: list[list[int]]) -> None:
    """All texts at once, and each alone."""
    ids, lengths = encoder.encode(texts)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [len(tokens) for tokens in expected]
    assert ids.tolist() == [token for tokens in expected for token in tokens]
    for text, tokens in zip(texts, expected, strict=True):
        assert encoder.encode([text]).ids.tolist() == tokens, repr(text[:60])
    assert [len(part) for part in encoder.encode([])] == [0, 0]


@pytest.mark.parametrize(("make", "engine"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_ids_size_and_eod_are_megatrons(make: Callable[[Path], dict[str, Any]], engine: str, tmp_path: Path) -> None:
    plan = plan_of(tokenizer=make(tmp_path))
    megatron = megatron_tokenizer(plan)
    expected = [list(map(int, megatron.tokenize(text))) for text in HARD]
    spec = pickle.loads(pickle.dumps(spec_of(plan)))
    for encoder in (load_encoder(spec), load_reference(spec)):
        assert (encoder.vocab_size, encoder.eod) == (megatron.vocab_size, megatron.eod)
        assert_ids(encoder, HARD, expected)
    assert load_encoder(spec).engine.startswith(engine + " ")
    assert load_encoder(spec).exact is (engine != "gigatoken")
    assert load_reference(spec).exact


def test_bos_is_left_out_where_megatron_is_told_so(tmp_path: Path) -> None:
    tokenizer = tokenizers_of.huggingface_bos(tmp_path)
    without = plan_of(tokenizer=tokenizer, megatron={"tokenizer-hf-no-include-special-tokens": True})
    megatron = megatron_tokenizer(without)
    assert_ids(load_encoder(spec_of(without)), HARD, [megatron.tokenize(text) for text in HARD])
    (bos, *rest), lengths = load_encoder(spec_of(plan_of(tokenizer=tokenizer))).encode(["return", ""])
    assert bos == 600
    assert lengths.tolist() == [len(rest), 1]
    assert rest[-1] == 600


def test_null_ids_are_the_numbers() -> None:
    plan = plan_of(tokenizer={"type": "null", "vocab_size": 70_000}, megatron={"null-tokenizer-eod-id": 5})
    encoder = load_encoder(spec_of(plan))
    megatron = megatron_tokenizer(plan)
    assert (encoder.vocab_size, encoder.eod) == (megatron.vocab_size, megatron.eod) == (70_000, 5)
    assert_ids(encoder, ["7 69999 0", "", "3"], [[7, 69_999, 0], [], [3]])
    for text in ("70000", "-1", "1  2", "word"):
        with pytest.raises(RefusedError, match="reads ids below 70000"):
            encoder.encode([text])
    assert spec_of(plan_of(tokenizer={"type": "null", "vocab_size": 9})).eod == 8


def test_texts_are_cut_only_behind_line_feeds() -> None:
    line = "0123456789" * 30 + "\n"
    text = line * 20 + "x" * (3 * CUT_LENGTH)
    cut = list(parts(text))
    assert "".join(cut) == text
    assert [len(part) for part in cut] == [1204] * 5 + [3000]
    assert list(parts("")) == [""]
    assert list(parts(line * 4)) == [line * 4]  # nothing behind the last line feed


@pytest.mark.parametrize(
    ("make", "cut"),
    [
        (tokenizers_of.sentencepiece_bpe, True),
        (tokenizers_of.sentencepiece_unigram, False),  # sums of scores round otherwise in a longer text
        (tokenizers_of.sentencepiece_llama, False),  # a piece reaches across a line feed
        (tokenizers_of.sentencepiece_normalizing, False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_which_models_may_be_cut(make: Callable[[Path], dict[str, Any]], cut: bool, tmp_path: Path) -> None:
    from megatron_lrps.data.prepare.encoders.sentencepiece_model import line_feeds_are_borders

    assert line_feeds_are_borders(load_processor(Path(make(tmp_path)["model"]))) is cut


def byte_level_spec(folder: Path) -> TokenizerSpec:
    """A spec as ``spec_of`` makes it, without transformers."""
    backend = Path(tokenizers_of.huggingface(folder)["model"], "tokenizer.json").read_text()
    return TokenizerSpec(type="HuggingFaceTokenizer", model=folder / "hf", eod=0, backend=backend)


def test_an_engine_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gigatoken

    spec = byte_level_spec(tmp_path)
    tokenizers_of.changed({"model": str(tmp_path / "hf")}, _one_merge_less)
    library = gigatoken.Tokenizer.from_json((tmp_path / "hf/tokenizer.json").read_bytes())
    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", lambda _: library)
    encoder = load_encoder(spec)
    assert encoder.engine.startswith("tokenizers ")
    assert "not gigatoken: it gives other ids for " in encoder.engine
    assert encoder.exact


def _one_merge_less(tokenizer: dict[str, Any]) -> None:
    left, right = tokenizer["model"]["merges"].pop(5)
    assert left + right in tokenizer["model"]["vocab"]


def test_words_that_gigatoken_remembers_are_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gigatoken_engine, "CACHE_BYTES", 2**24)
    spec = byte_level_spec(tmp_path)
    encoder = load_encoder(spec)
    made: list[object] = []
    build = encoder._build  # type: ignore[attr-defined]
    monkeypatch.setattr(encoder, "_build", lambda: made.append(1) or build())
    letters = str.maketrans("0123456789", "ghijklmnop")
    for seed in range(6):  # 300,000 words that are new each time, some 27 MB
        digits = random.Random(seed).randbytes(1_500_000).hex().translate(letters)
        encoder.encode([" ".join(digits[begin : begin + 10] for begin in range(0, len(digits), 10))])
    assert 3 <= len(made) <= 6
    assert encoder.encode(HARD).lists() == load_reference(spec).encode(HARD).lists()


def test_without_gigatoken_the_reference_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    assert "not gigatoken: import of gigatoken halted" in load_encoder(byte_level_spec(tmp_path)).engine


def test_encoding_imports_neither_torch_nor_megatron(tmp_path: Path) -> None:
    (tmp_path / "spec").write_bytes(pickle.dumps(byte_level_spec(tmp_path)))
    code = (
        "import pickle, sys; from megatron_lrps.data.prepare.encoders import load_encoder\n"
        "encoder = load_encoder(pickle.load(open(sys.argv[1], 'rb'))); encoder.encode(['text'])\n"
        "print(encoder.engine.split()[0], *({'torch', 'megatron', 'transformers'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "spec"], capture_output=True, text=True, check=True)
    assert ended.stdout == "gigatoken\n"
    assert "torch" not in sys.modules or sys.modules["torch"] is not None  # the probe blocks it in its own process


# Folders and files that would give other ids than people expect, or none: refused by name.


def test_a_folder_with_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    """transformers converts it on the fly: other ids on leading blanks, and wrong ones for unigram."""
    train_sentencepiece(TEXTS, tmp_path / "tokenizer.model", vocab_size=600, algorithm="unigram")
    refused({"type": "huggingface", "model": str(tmp_path)}, "tokenizer.model but no tokenizer.json", "sentencepiece")


@pytest.mark.parametrize("named_by", ["tokenizer_config.json", "config.json"])
def test_a_class_that_builds_another_tokenizer(named_by: str, tmp_path: Path) -> None:
    """transformers' class for a model builds its own pre-tokenizer around the vocabulary, whatever the file says."""
    plan = tokenizers_of.only_json(tokenizers_of.huggingface(tmp_path), eos_token="<|endoftext|>")
    content = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "model_type": "qwen2"}
    Path(plan["model"], named_by).write_text(json.dumps(content))
    refused(plan, "tokenizer.json makes", "Qwen2Tokenizer", "PreTrainedTokenizerFast", "config.json apart")


def test_a_folder_with_tokenizer_json_alone(tmp_path: Path) -> None:
    plan = tokenizers_of.only_json(tokenizers_of.huggingface(tmp_path))
    refused(plan, "names no eos_token", "tokenizer_config.json")


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    plan = tokenizers_of.huggingface(tmp_path)
    config = {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own", "eos_token": "<|endoftext|>"}
    Path(plan["model"], "tokenizer_config.json").write_text(json.dumps(config))
    Path(plan["model"], "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    refused(plan, f"transformers cannot read {plan['model']}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        (None, "The plan has no tokenizer"),
        ({"type": "MyTokenizer", "model": "m"}, "'MyTokenizer' cannot prepare data"),
        ({"type": "sentencepiece"}, "tokenizer.model is missing"),
        ({"type": "sentencepiece", "model": "nowhere.model"}, "/campaigns/nowhere.model does not exist"),
        ({"type": "sentencepiece", "model": "/tmp"}, "is a folder, and SentencePieceTokenizer needs a file"),
        ({"type": "huggingface", "model": __file__}, "is a file, and HuggingFaceTokenizer needs a folder"),
        ({"type": "null"}, "tokenizer.vocab_size is missing"),
    ],
)
def test_plans_without_a_usable_tokenizer(tokenizer: dict[str, Any] | None, says: str) -> None:
    refused(tokenizer, says)


@pytest.mark.parametrize("flag", ["trust-remote-code", "tokenizer-sentencepiece-legacy", "vocab-file"])
def test_flags_that_change_ids(flag: str, tmp_path: Path) -> None:
    plan = plan_of(tokenizer=tokenizers_of.sentencepiece_bpe(tmp_path), megatron={flag: True})
    with pytest.raises(RefusedError, match=f"megatron.{flag}: True changes the ids"):
        spec_of(plan)


def test_models_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("no model")
    spec = TokenizerSpec(type="SentencePieceTokenizer", model=tmp_path / "m")
    with pytest.raises(RefusedError, match="is not a sentencepiece model"):
        load_encoder(spec)
    (tmp_path / "tokenizer.json").write_text("{}")
    refused({"type": "huggingface", "model": str(tmp_path)}, f"transformers cannot read {tmp_path}")


def test_a_sentencepiece_model_without_eos(tmp_path: Path) -> None:
    model = tokenizers_of._foreign(tmp_path, model_type="bpe", eos_id=-1)
    with pytest.raises(RefusedError, match="has no end-of-sequence token"):
        load_encoder(spec_of(plan_of(tokenizer={"model": model})))


def test_vocabulary_files_that_megatron_does_not_read(tmp_path: Path) -> None:
    tokens = [*(bytes([byte]) for byte in range(256)), b"ab", b"abc"]
    file = Path(tokenizers_of.write_ranks(tmp_path / "v.json", tokens))
    spec = TokenizerSpec(type="TikTokenizer", model=file, vocab_size=268, num_special_tokens=10)
    assert load_encoder(spec).encode(["ab c"]).ids.tolist() == [266, 42, 109]  # 10 special ids stand before 256 bytes

    def refuses(says: str, **keys: Any) -> None:
        with pytest.raises(RefusedError, match=says):
            load_encoder(TokenizerSpec(**{**vars(spec), **keys}))

    refuses("Set tokenizer.vocab_size to at most 268", vocab_size=269)
    refuses("tokenizer.vocab_size is 131072, but", vocab_size=None)
    refuses("7 tokens for 5 places", num_special_tokens=5)
    refuses("without <cls>, <sep> of Megatron", special_tokens=("<unk>", "<s>", "</s>", "<mask>", "<pad>"))
    tokenizers_of.write_ranks(file, tokens[::-1])
    refuses("is not a vocabulary that Megatron's TikTokenizer reads")
    file.write_text("[1, 2")
    refuses("is not a JSON vocabulary")


def refused(tokenizer: dict[str, Any] | None, *says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        spec_of(plan_of(tokenizer=tokenizer))
    assert caught.value.fix
    for text in says:
        assert text in str(caught.value)
