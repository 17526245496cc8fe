"""The tokenizer of an export. Its files are shipped only if transformers gives the same ids as in training."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.convert.helper_process import OFFLINE, python_lines
from megatron_lrps.convert.tokenizers_json import SPACE, sentencepiece_json, tiktoken_json
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import Encoder, TokenizerSpec
from megatron_lrps.data.prepare.encoders.huggingface_folder import TokenizersReference
from megatron_lrps.data.prepare.encoders.spec import SENTENCEPIECE
from megatron_lrps.data.prepare.encoders.tiktoken_file import read_ranks
from megatron_lrps.data.prepare.encoders.traps import trap_texts
from megatron_lrps.errors import RefusedError

_CHAT = "chat_template.jinja"

_APART = (
    " It is in the folder `tokenizer`: beside the model's config.json transformers would take it for another model's."
)


class Shipped(NamedTuple):
    """The tokenizer that lies in the export.

    Attributes:
        statement: A sentence about it, for the model card and the terminal.
        texts: The number of texts on which transformers gave the training's ids; 0 if it cannot read the tokenizer.
    """

    statement: str
    texts: int


def write_tokenizer(spec: TokenizerSpec, folder: Path, *, max_length: int) -> Shipped:
    """Put the tokenizer beside the config.json of ``folder``, as transformers' AutoTokenizer reads it.

    If no file gives the ids of the training, none is written that transformers would read: a wrong token is worse than
    none.

    Args:
        spec: The campaign's tokenizer.
        folder: The export. It must hold config.json already, because AutoTokenizer may go by it.
        max_length: The number of positions of the model.

    Raises:
        RefusedError: the tokenizer is a Hugging Face folder, but transformers gives other ids than the training had.
        LrpsError: transformers cannot be started.
    """
    if spec.model is None:
        return Shipped("The model was trained on token ids; there is no tokenizer.", 0)
    reference = load_reference(spec)
    if spec.type in SENTENCEPIECE:
        return _sentencepiece(spec.model, reference, folder, max_length)
    if spec.type == "HuggingFaceTokenizer":
        return _hugging_face(spec, spec.model, reference, folder, max_length)
    return _tiktoken(spec, spec.model, reference, folder, max_length)


def _sentencepiece(model: Path, reference: Encoder, folder: Path, max_length: int) -> Shipped:
    shutil.copyfile(model, _aside(folder, "sentencepiece") / "tokenizer.model")
    try:
        backend, special = sentencepiece_json(model)
    except RefusedError as error:
        return Shipped(
            f"The tokenizer is `sentencepiece/tokenizer.model`; transformers cannot read it: {error.what}", 0
        )
    # transformers would take the characters "</s>" of a text for the token; sentencepiece does not.
    settings: dict[str, Any] = {"split_special_tokens": True, "clean_up_tokenization_spaces": False}
    named = {"bos_token": special.bos, "eos_token": special.eos, "unk_token": special.unknown}
    settings |= {name: token for name, token in named.items() if token is not None}
    vocabulary = json.loads(backend)["model"]["vocab"]
    names = [piece if isinstance(piece, str) else piece[0] for piece in vocabulary]
    texts = list(trap_texts([name.replace(SPACE, " ") for name in names]))
    shipped = _ship(folder, backend, {**settings, "model_max_length": max_length}, reference, texts)
    return shipped or Shipped(
        "The tokenizer is `sentencepiece/tokenizer.model`; use it with the sentencepiece library: transformers would "
        "give other ids.",
        0,
    )


def _tiktoken(spec: TokenizerSpec, model: Path, reference: Encoder, folder: Path, max_length: int) -> Shipped:
    shutil.copyfile(model, _aside(folder, "tiktoken") / model.name)
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False}
    texts = list(trap_texts([token.decode(errors="ignore") for token in read_ranks(spec)]))
    shipped = _ship(folder, tiktoken_json(spec), {**settings, "model_max_length": max_length}, reference, texts)
    return shipped or Shipped(
        f"The tokenizer is Megatron's {spec.type}, in `tiktoken/{model.name}`: transformers would give other ids.", 0
    )


def _hugging_face(spec: TokenizerSpec, source: Path, reference: Encoder, folder: Path, max_length: int) -> Shipped:
    try:
        settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    # `auto_map` would make transformers run code, and `added_tokens_decoder` is in tokenizer.json as well.
    settings = {key: value for key, value in settings.items() if key not in ("auto_map", "added_tokens_decoder")}
    if (source / _CHAT).is_file():
        shutil.copyfile(source / _CHAT, folder / _CHAT)
    texts = list(trap_texts(reference.tokens() if isinstance(reference, TokenizersReference) else []))
    # Without BOS and EOS a text's ids differ from the default; then the ids between are compared.
    shipped = _ship(
        folder, spec.backend, {"model_max_length": max_length, **settings}, reference, texts, special=spec.wrapped
    )
    if shipped is None:
        raise RefusedError(
            f"With the tokenizer of {source}, transformers gives other ids than the training had.",
            "report it, with that folder's tokenizer_config.json.",
        )
    return shipped


def _aside(folder: Path, name: str) -> Path:
    aside = folder / name
    aside.mkdir()
    return aside


def _ship(
    folder: Path,
    backend: str,
    settings: dict[str, Any],
    reference: Encoder,
    texts: Sequence[str],
    *,
    special: bool = True,
) -> Shipped | None:
    """Write the tokenizer beside config.json or apart, wherever transformers gives its ids; None if it never does."""
    for place in (folder, folder / "tokenizer"):
        place.mkdir(exist_ok=True)
        (place / "tokenizer.json").write_text(backend, encoding="utf-8")
        whole = {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
        (place / "tokenizer_config.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        if not _differ(place, reference, texts, special=special):
            where = "" if place is folder else _APART
            return Shipped(f"transformers gives the training's ids on {len(texts):,} texts.{where}", len(texts))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (place / name).unlink()
    (folder / "tokenizer").rmdir()
    return None


def _differ(folder: Path, reference: Encoder, texts: Sequence[str], *, special: bool) -> bool:
    """Whether transformers and the reference differ in the ids of any text."""
    arguments = ["-P", str(Path(__file__).with_name("transformers_ids.py")), str(folder)]
    given = {"texts": texts, "special": special}
    failed = f"transformers could not read the tokenizer of {folder}"
    said = "".join(python_lines(arguments, given=given, env=OFFLINE, failed=failed, fix="fix that, then rerun."))
    found: list[list[int]] = json.loads(said)["ids"]
    return found != reference.encode(texts).lists()
