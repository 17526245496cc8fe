from pathlib import Path

import pytest

from megatron_lrps.data.fingerprint import file_sha256
from megatron_lrps.data.sentencepiece_training import LONGEST_LINE, load_processor, train_sentencepiece
from megatron_lrps.errors import RefusedError
from tests.data.prepare.tokenizers_of import HARD

TEXTS = [Path(__file__).read_text(), Path(pytest.__file__).read_text()]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    facts = train_sentencepiece(TEXTS, path, vocab_size=400, algorithm=request.param)
    assert (facts.vocab_size, facts.sha256) == (400, file_sha256(path))
    return path, request.param


def test_same_texts_same_bytes(model: tuple[Path, str], tmp_path: Path) -> None:
    path, algorithm = model
    facts = train_sentencepiece(iter(TEXTS), tmp_path / "new" / "again.model", vocab_size=400, algorithm=algorithm)
    assert facts.sha256 == file_sha256(path)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["again.model"]


def test_ids_give_back_the_text_to_the_byte(model: tuple[Path, str]) -> None:
    processor = load_processor(model[0])
    assert (processor.get_piece_size(), processor.eos_id()) == (400, 2)
    for text in HARD:
        # U+2581 is how sentencepiece itself writes a space.
        assert processor.decode(processor.encode(text)) == text.replace("▁", " "), repr(text[:60])


def test_the_two_algorithms_differ(tmp_path: Path) -> None:
    for algorithm in ("bpe", "unigram"):
        train_sentencepiece(TEXTS, tmp_path / algorithm, vocab_size=400, algorithm=algorithm)
    bpe, unigram = (load_processor(tmp_path / algorithm).encode(TEXTS[0]) for algorithm in ("bpe", "unigram"))
    assert bpe != unigram


def test_an_indentation_is_one_token(tmp_path: Path) -> None:
    train_sentencepiece(["        return x\n" * 100], tmp_path / "m", vocab_size=280)
    assert len(load_processor(tmp_path / "m").encode(" " * 8)) == 1


def test_long_lines_are_learnt_from(tmp_path: Path) -> None:
    line = "abcdefgh " * LONGEST_LINE  # 9 times as long as is read at once, and over the library's own limit
    # 256 bytes, 3 special tokens, 9 letters, and the 8 merges that make one token of " abcdefgh".
    train_sentencepiece([line], tmp_path / "m", vocab_size=276)
    assert len(load_processor(tmp_path / "m").encode(" abcdefgh")) == 1


def test_a_vocabulary_that_the_texts_cannot_give(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="vocabulary of 50000"):
        train_sentencepiece(["a few words"], tmp_path / "m", vocab_size=50_000)
    assert list(tmp_path.iterdir()) == []
