"""The data of the quick start and the studies: real text of this machine as four windows, in Megatron's files.

``<folder>/data/`` afterwards::

    v1/train.bin  v1/train.idx  v1/valid.bin  v1/valid.idx     and so for v2, v3, v4
    valid.bin  valid.idx                                       the held-out text of all four
    tokenizer.model                                            for --tokenizer-type SentencePieceTokenizer
    facts.json                                                 written last: with it the folder is whole
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from megatron_lrps.data.fingerprint import DataFingerprint, file_sha256, fingerprint
from megatron_lrps.data.index import write_index
from megatron_lrps.data.quickstart.corpus import Document, Window, collect, deal
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.storage.publish import write_failed

if TYPE_CHECKING:
    from megatron_lrps.data.prepare.encoders import Encoder

SEED = 1234


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One ``.bin``/``.idx`` pair; tokens include one EOD per document."""

    prefix: str
    """Relative to the ``data`` folder, e.g. ``v1/train``."""
    tokens: int
    fingerprint: DataFingerprint


@dataclass(frozen=True, kw_only=True)
class WindowFacts:
    """One version's new data, and where its text is from."""

    name: str
    domain: str
    origin: tuple[str, ...]
    train: SplitFacts
    valid: SplitFacts


@dataclass(frozen=True, kw_only=True)
class QuickstartFacts:
    """What ``facts.json`` holds."""

    seed: int
    window_chars: int
    vocab_size: int
    tokenizer_sha256: str
    windows: tuple[WindowFacts, ...]
    valid: SplitFacts | None = None
    """The held-out text of all windows; folders of before it was there do without."""
    mixed: bool = False

    @property
    def splits(self) -> list[SplitFacts]:
        """All files that there are, by pairs."""
        found = [split for window in self.windows for split in (window.train, window.valid)]
        return found if self.valid is None else [*found, self.valid]


_FACTS = TypeAdapter(QuickstartFacts)


def prepare_quickstart(
    folder: Path, *, vocab_size: int, progress: Callable[[str], None], window_chars: int, mixed: bool
) -> QuickstartFacts:
    """Make ``folder/data`` in some 20 s; do nothing where it is whole, rebuild it where it is torn.

    Args:
        folder: The quick start's own folder; made if it is missing.
        vocab_size: Tokens of the sentencepiece BPE vocabulary.
        progress: Called with one line per step.
        window_chars: Characters of a window, held-out ones included.
        mixed: All windows have one distribution, as the paper's have; else each has its own kind of text.

    Raises:
        RefusedError: The folder holds data of another ``vocab_size`` or ``window_chars``; or text or
            sentencepiece are missing on this machine.
        StorageError: A file could not be written; the next call rebuilds.
    """
    data = folder / "data"
    facts = _read_facts(data / "facts.json")
    if facts is not None:
        _check_settings(data, facts, vocab_size=vocab_size, window_chars=window_chars, mixed=mixed)
        if damage := next(_damage(data, facts), None):
            progress(f"{damage}: preparing the data again")
        else:
            progress(f"{data} is whole: nothing to do")
            return facts
    return _prepare(data, vocab_size, window_chars, progress, mixed=mixed)


def _prepare(
    data: Path, vocab_size: int, window_chars: int, progress: Callable[[str], None], *, mixed: bool
) -> QuickstartFacts:
    # Here, not above: numpy takes longer to load than the command line may.
    from megatron_lrps.data.prepare.encoders import TokenizerSpec, load_encoder

    try:
        # Before anything else changes: a kill from here on leaves a folder that is not taken for whole.
        (data / "facts.json").unlink(missing_ok=True)
    except OSError as error:
        raise write_failed(data / "facts.json", error) from error
    progress("Collecting text from Python and installed packages")
    windows = collect(SEED, window_chars=window_chars)
    for window in windows:
        progress(f"  {window.domain}, from {', '.join(window.origin)}. {window.note}".rstrip())
    if mixed:
        windows = deal(windows, SEED)
    progress(f"Training a sentencepiece BPE tokenizer of {vocab_size} tokens")
    texts = (document.text for window in windows for document in window.train)
    tokenizer = train_sentencepiece(texts, data / "tokenizer.model", vocab_size=vocab_size)
    progress("Writing it as Megatron's .bin and .idx files")
    encoder = load_encoder(TokenizerSpec(type="SentencePieceTokenizer", model=data / "tokenizer.model"))
    facts = QuickstartFacts(
        seed=SEED,
        window_chars=window_chars,
        vocab_size=vocab_size,
        tokenizer_sha256=tokenizer.sha256,
        windows=tuple(_write_window(data, window, encoder) for window in windows),
        valid=_write_split(data, "valid", tuple(held_out for window in windows for held_out in window.valid), encoder),
        mixed=mixed,
    )
    write_atomic(data / "facts.json", _FACTS.dump_json(facts, indent=2) + b"\n")
    total = sum(window.train.tokens for window in facts.windows)
    progress(f"{data}: {total} training tokens in {len(facts.windows)} windows")
    return facts


def _write_window(data: Path, window: Window, encoder: "Encoder") -> WindowFacts:
    return WindowFacts(
        name=window.name,
        domain=window.domain,
        origin=window.origin,
        train=_write_split(data, f"{window.name}/train", window.train, encoder),
        valid=_write_split(data, f"{window.name}/valid", window.valid, encoder),
    )


def _write_split(data: Path, prefix: str, documents: tuple[Document, ...], encoder: "Encoder") -> SplitFacts:
    written = write_index(
        data / prefix,
        (document.text for document in documents),
        lambda texts: encoder.encode(texts).lists(),
        vocab_size=encoder.vocab_size,
        eod=encoder.eod,
    )
    return SplitFacts(prefix=prefix, tokens=written.tokens, fingerprint=fingerprint(data / prefix))


def _read_facts(path: Path) -> QuickstartFacts | None:
    """The facts of a finished preparation, or None: a file that cannot be read is the same as none."""
    try:
        return _FACTS.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _check_settings(data: Path, facts: QuickstartFacts, **asked: object) -> None:
    """Refuse other settings: what was trained on this data must not find other data in its place."""
    for key, value in asked.items():
        if (found := getattr(facts, key)) != value:
            raise RefusedError(
                f"{data} was prepared with {key} {found}, but {value} is asked for.",
                f"Choose another folder, or delete {data} and all that was trained on it.",
            )


def _damage(data: Path, facts: QuickstartFacts) -> Iterator[str]:
    """What in the folder is missing or is not as ``facts`` says."""
    try:
        if file_sha256(data / "tokenizer.model") != facts.tokenizer_sha256:
            yield f"{data / 'tokenizer.model'} has changed"
        for split in facts.splits:
            if fingerprint(data / split.prefix) != split.fingerprint:
                yield f"{data / split.prefix}.bin or .idx has changed"
    except RefusedError as error:
        yield error.what.rstrip(".")
