"""Tiny campaigns of models that have a Hugging Face counterpart, trained by real ranks."""

from pathlib import Path

from megatron_lrps.convert.architecture import Model
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from tests.training.campaigns import write_campaign

VOCAB = 400
LLAMA = (
    ", ffn-hidden-size: 96, normalization: RMSNorm, swiglu: true, position-embedding-type: rope,"
    " disable-bias-linear: true, group-query-attention: true, num-query-groups: 2"
)
"""Megatron flags behind ``write_campaign``'s two layers, 64 wide, four heads."""

LLAMA_MODEL = Model(
    family="llama",
    layers=2,
    hidden=64,
    ffn=96,
    heads=4,
    groups=2,
    head_dim=16,
    vocab=111,
    positions=32,
    epsilon=1e-5,
    tied=False,
)
"""The smallest Llama, which tests change into models of other families."""


def write_llama_campaign(folder: Path, *, extra: str = "", processes: int = 1) -> Path:
    """A campaign with a sentencepiece tokenizer of 400 tokens; returns the plan's file."""
    plan = write_campaign(folder, extra=LLAMA + extra, processes=processes)
    text = Path(__file__).read_text(encoding="utf-8")
    train_sentencepiece([text] * 3, folder / "data" / "tokenizer.model", vocab_size=VOCAB)
    null = '{type: "null", model: data/vocabulary.txt, vocab_size: 127}'
    plan.write_text(plan.read_text().replace(null, "{type: sentencepiece, model: data/tokenizer.model}"))
    return plan
