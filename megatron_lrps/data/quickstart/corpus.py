"""The data of the quick start and the studies: real text of this machine for four versions, in Megatron's files.

``<folder>/data/`` afterwards::

    v1/train.bin  v1/train.idx  v1/valid.bin  v1/valid.idx     and so for v2, v3, v4
    valid.bin  valid.idx                                       the held-out text of all four
    tokenizer.model                                            for --tokenizer-type SentencePieceTokenizer
    facts.json                                                 written last: with it the folder is whole
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.data.fingerprint import file_sha256, fingerprint
from megatron_lrps.data.quickstart.installed_text import Document, collect, mix
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json, write_atomic, write_failed

SEED = 1234
KINDS = 4
"""The kinds of text that are collected, and so the number of windows unless they are mixed."""


def prepare_quickstart(
    folder: Path, *, vocab_size: int, progress: Callable[[str], None], window_chars: int, mixed: bool, windows: int = 4
) -> dict[str, Any]:
    """Make ``folder/data`` in some 20 s; do nothing if it is whole, rebuild it if a file is missing or torn.

    Args:
        folder: The quick start's own folder; made if it is missing.
        vocab_size: Tokens of the sentencepiece BPE vocabulary.
        progress: Called with one line per step.
        window_chars: Characters of each version, held-out ones included.
        mixed: The text of all versions has one distribution, as the paper's has; else each has its own kind of text.
        windows: The number of versions; there are four kinds of text, so others than 4 must be mixed.

    Returns:
        The content of ``facts.json``: settings, the sha256 of the tokenizer, and the tokens and fingerprint of each
        ``.bin``/``.idx`` pair. Tokens include one EOD for each document.

    Raises:
        RefusedError: The folder holds data of other settings, or text or sentencepiece are missing on this machine.
        StorageError: A file could not be written; the next call rebuilds.
    """
    data = folder / "data"
    settings: dict[str, Any] = {"seed": SEED, "window_chars": window_chars, "vocab_size": vocab_size, "mixed": mixed}
    settings["count"] = windows
    facts = read_json(data / "facts.json")
    if facts is not None:
        _refuse_other_settings(data, {"mixed": False, "count": KINDS, **facts}, settings)
        if (damage := next(_damage(data, facts), None)) is None:
            progress(f"{data} is whole: nothing to do")
            return facts
        progress(f"{damage}: preparing the data again")
    return _prepare(data, settings, progress)


def _prepare(data: Path, settings: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    # Here, not above: numpy takes longer to load than the command line may.
    from megatron_lrps.data.index_writer import write_index
    from megatron_lrps.data.prepare.encode import dtype_of, with_eod
    from megatron_lrps.data.prepare.encoders import TokenizerSpec, load_encoder

    try:
        # Before anything else changes: a kill from here on leaves a folder that is not taken for whole.
        (data / "facts.json").unlink(missing_ok=True)
    except OSError as error:
        raise write_failed(data / "facts.json", error) from error
    progress("Collecting text from Python and installed packages")
    versions = collect(SEED, version_chars=settings["window_chars"] * settings["count"] // KINDS)
    for version in versions:
        progress(f"  {version.domain}, from {', '.join(version.origin)}.")
    if settings["mixed"]:
        versions = mix(versions, SEED, settings["count"])
    progress(f"Training a sentencepiece BPE tokenizer of {settings['vocab_size']} tokens")
    model = data / "tokenizer.model"
    texts = (document.text for version in versions for document in version.train)
    tokenizer = train_sentencepiece(texts, model, vocab_size=settings["vocab_size"])
    progress("Writing it as Megatron's .bin and .idx files")
    encoder = load_encoder(TokenizerSpec(type="SentencePieceTokenizer", model=model))

    def written(prefix: str, documents: Sequence[Document]) -> dict[str, Any]:
        ids, lengths = with_eod(encoder.encode([each.text for each in documents]), encoder, dtype_of(encoder))
        write_index(data / prefix, [ids.tobytes()], lambda: [lengths], ids.dtype)
        return {"prefix": prefix, "tokens": len(ids), "fingerprint": fingerprint(data / prefix).to_json()}

    windows: list[dict[str, Any]] = [
        {
            "name": version.name,
            "domain": version.domain,
            "origin": list(version.origin),
            "train": written(f"{version.name}/train", version.train),
            "valid": written(f"{version.name}/valid", version.valid),
        }
        for version in versions
    ]
    facts = {
        "seed": SEED,
        "window_chars": settings["window_chars"],
        "vocab_size": settings["vocab_size"],
        "tokenizer_sha256": tokenizer.sha256,
        "windows": windows,
        "valid": written("valid", [held_out for version in versions for held_out in version.valid]),
        "mixed": settings["mixed"],
        "count": settings["count"],
    }
    write_atomic(data / "facts.json", json.dumps(facts, indent=2) + "\n")
    progress(f"{data}: {sum(each['train']['tokens'] for each in windows)} training tokens in {len(windows)} windows")
    return facts


def _refuse_other_settings(data: Path, facts: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse other settings: models trained on this data must not find other data there."""
    for key, value in settings.items():
        if (found := facts.get(key)) != value:
            raise RefusedError(
                f"{data} was prepared with {key} {found}, but {value} is asked for.",
                f"Choose another folder, or delete {data} and all that was trained on it.",
            )


def _damage(data: Path, facts: dict[str, Any]) -> Iterator[str]:
    """Yield the files in the folder that are missing or are not as ``facts`` says."""
    try:
        if file_sha256(data / "tokenizer.model") != facts["tokenizer_sha256"]:
            yield f"{data / 'tokenizer.model'} has changed"
        for pair in [window[split] for window in facts["windows"] for split in ("train", "valid")] + [facts["valid"]]:
            if fingerprint(data / pair["prefix"]).to_json() != pair["fingerprint"]:
                yield f"{data / pair['prefix']}.bin or .idx has changed"
    except RefusedError as error:
        yield error.what.rstrip(".")
    except (KeyError, TypeError):
        yield f"{data / 'facts.json'} is torn"
