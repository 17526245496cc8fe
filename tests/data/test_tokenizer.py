from pathlib import Path
from types import SimpleNamespace

import pytest

from megatron_lrps.data.fingerprint import file_sha256
from megatron_lrps.data.tokenizer import SentencePieceEncoder, train_sentencepiece
from megatron_lrps.errors import RefusedError

TEXTS = [Path(__file__).read_text(), Path(pytest.__file__).read_text()]
HARD = "  def f(x):\n\t  return 'é☯漢\u00a0'  \r\n\n\n        x  "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_sentencepiece(TEXTS, path, vocab_size=400)
    return path


def test_same_texts_same_bytes(model: Path, tmp_path: Path) -> None:
    facts = train_sentencepiece(iter(TEXTS), tmp_path / "new" / "again.model", vocab_size=400)
    assert facts.vocab_size == 400
    assert facts.sha256 == file_sha256(model)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["again.model"]


def test_ids_and_eod_are_megatrons(model: Path) -> None:
    from megatron.core.tokenizers.utils.build_tokenizer import build_tokenizer

    arguments = SimpleNamespace(
        tokenizer_type="SentencePieceTokenizer",
        tokenizer_model=str(model),
        # What Megatron's parser gives where a command line says nothing else:
        chat_template=None,
        make_vocab_size_divisible_by=128,
        metadata_path=None,
        pad_vocab_size=True,
        rank=0,
        special_tokens=None,
        tensor_model_parallel_size=1,
        tokenizer_sentencepiece_ignore_extra_whitespaces=True,
        tokenizer_sentencepiece_legacy=False,
    )
    tokenizer = build_tokenizer(arguments)
    assert arguments.padded_vocab_size == 512  # 400 to the next multiple of 128
    encode = SentencePieceEncoder(model)
    assert (encode.vocab_size, encode.eod) == (tokenizer.vocab_size, tokenizer.eod) == (400, 2)
    for text in (HARD, *TEXTS):
        (ids,) = encode([text])
        assert ids == tokenizer.tokenize(text)
        assert tokenizer.detokenize(ids) == text


def test_long_texts_are_cut_without_another_id(model: Path) -> None:
    encode = SentencePieceEncoder(model)
    text = "".join(TEXTS) * 10
    assert len(text) > 40_000
    assert encode([text, "", text]) == [[*encode._processor.encode(text)], [], encode._processor.encode(text)]
    one_line = "word " * 10_000  # no line feed to cut behind: nothing is lost
    assert encode._processor.decode(encode([one_line])[0]) == one_line


def test_an_indentation_is_one_token(tmp_path: Path) -> None:
    train_sentencepiece(["        return x\n" * 100], tmp_path / "m", vocab_size=280)
    (ids,) = SentencePieceEncoder(tmp_path / "m")([" " * 8])
    assert len(ids) == 1


def test_a_vocabulary_that_the_texts_cannot_give(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="vocabulary of 50000"):
        train_sentencepiece(["a few words"], tmp_path / "m", vocab_size=50_000)
    assert list(tmp_path.iterdir()) == []
