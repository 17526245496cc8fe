"""Windows, losses and bytes of a token stream, by numbers that a reader can work out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from training.harness import write_tokens

from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.token_bytes import byte_counter
from megatron_lrps.evaluate.validation_loss import batches, loss_sum
from megatron_lrps.evaluate.validation_tokens import read_windows


def test_every_token_but_the_first_is_predicted_once(tmp_path: Path) -> None:
    write_tokens(tmp_path / "set", [[1, 2, 3, 4], [5, 6, 7, 8, 9]])
    stream = np.fromfile(tmp_path / "set.bin", dtype=np.int32).tolist()
    windows = [window.tolist() for window in read_windows(tmp_path / "set", length=4)]
    assert [token for window in windows for token in window[1:]] == stream[1:]
    assert [window[0] for window in windows] == stream[:-1:4]
    few = [window.tolist() for window in read_windows(tmp_path / "set", length=4, limit=5)]
    assert few == [stream[0:5], stream[4:6]]


def test_the_loss_is_of_the_vocabulary_alone(tmp_path: Path) -> None:
    write_tokens(tmp_path / "set", [[1, 2, 3, 4, 5, 6, 7]])
    windows = read_windows(tmp_path / "set", length=3)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        # Ten tokens alike, and two rows of padding that would take almost all of the probability.
        return torch.cat([torch.zeros(*ids.shape, 10), torch.full((*ids.shape, 2), 50.0)], dim=-1)

    total, count = loss_sum(logits, batches(windows), 10, "cpu")
    assert count == len(windows.tokens) - 1
    assert total == pytest.approx(count * math.log(10), rel=1e-6)


def test_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path / "set", [[1, 2, 3]])
    Path(tmp_path / "set.bin").write_bytes(b"")
    with pytest.raises(RefusedError):
        read_windows(tmp_path / "set", length=4)


TEXTS = ["def f(x):\n    return x\n", "Größe: 3 µm, naïve café", "  two spaces  and 日本語 \U0001f40d"]


@pytest.mark.parametrize("prefix", [False, True])
def test_bytes_of_sentencepiece_are_the_texts(tmp_path: Path, prefix: bool) -> None:
    import sentencepiece

    model = tmp_path / "tokenizer.model"
    if prefix:
        (tmp_path / "text").write_text("\n".join(TEXTS * 20))
        sentencepiece.SentencePieceTrainer.train(
            input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=330, byte_fallback=True,
            model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
            hard_vocab_limit=False,
        )  # fmt: skip
    else:
        train_sentencepiece(TEXTS * 20, model, vocab_size=330)
    _assert_counted(TokenizerSpec(type="SentencePieceTokenizer", model=model))


def test_bytes_of_byte_level_bpe_are_the_texts(tmp_path: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS * 20, vocab_size=300, special_tokens=["<|endoftext|>"])
    _assert_counted(
        TokenizerSpec(
            type="HuggingFaceTokenizer",
            model=tmp_path,
            eod=trained.token_to_id("<|endoftext|>"),
            backend=trained._tokenizer.to_str(),
        )
    )


def _assert_counted(spec: TokenizerSpec) -> None:
    encoder, counter = load_reference(spec), byte_counter(spec)
    assert counter is not None
    stream = [encoder.eod]  # the first token is never predicted
    for ids in encoder.encode(TEXTS).lists():
        stream += [*ids, encoder.eod]
    assert counter.count(np.array(stream)) == sum(len(text.encode()) for text in TEXTS)


def test_ids_without_a_tokenizer_have_no_bytes() -> None:
    assert byte_counter(TokenizerSpec(type="NullTokenizer", vocab_size=10, eod=9)) is None
