"""Megatron ``.bin``/``.idx`` files from text, written so that a torn pair never looks whole."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.storage.publish import publish, temporary_name, write_failed

Encode = Callable[[Sequence[str]], list[list[int]]]
"""The token ids of each text, without EOD; called with many texts at a time."""

_BATCH_CHARS = 1_000_000
"""Characters encoded at a time: bounds the memory, whatever the number of documents."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written: documents and tokens (EODs included), and the empty documents left out."""

    documents: int
    tokens: int
    empty_documents: int


def write_index(prefix: Path | str, documents: Iterable[str], encode: Encode, *, vocab_size: int, eod: int) -> Written:
    """Encode documents and write them as ``prefix.bin`` and ``prefix.idx``, each ended by an EOD.

    The token type is Megatron's choice for ``vocab_size``: uint16 below 65500, else int32. While it runs
    there is no ``prefix.idx``; the ``.bin`` gets its name first, the ``.idx`` last.

    Args:
        prefix: Path of both files without ``.bin`` and ``.idx``; the folder is made.
        documents: One text per document. Those that give no token are counted, not written.
        encode: Texts to ids.
        vocab_size: Ids are below this.
        eod: Id put behind each document.

    Raises:
        RefusedError: No document gives a token.
        LrpsError: ``encode`` gave an id that is not below ``vocab_size``.
        StorageError: A file could not be written.
    """
    DType, IndexedDatasetBuilder = _megatron_builder()  # noqa: N806 - classes
    data, idx = Path(f"{prefix}.bin"), Path(f"{prefix}.idx")
    temporary_data, temporary_idx = temporary_name(data), temporary_name(idx)
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        builder = IndexedDatasetBuilder(str(temporary_data), dtype=DType.optimal_dtype(vocab_size))
        written = _add_documents(builder, documents, encode, vocab_size, eod)
        builder.finalize(str(temporary_idx))
        if not written.documents:
            raise RefusedError(
                f"{prefix}: none of {written.empty_documents} documents gives a token.",
                "Give documents that hold text.",
            )
        # First the old index goes: were it there beside the new data, a kill here would leave a pair that
        # looks whole and is not.
        idx.unlink(missing_ok=True)
        publish(temporary_data, data)
        publish(temporary_idx, idx)
    except OSError as error:
        raise write_failed(data, error) from error
    finally:
        with suppress(OSError):  # it must not hide the error that led here
            temporary_data.unlink(missing_ok=True)
            temporary_idx.unlink(missing_ok=True)
    return written


def _megatron_builder() -> tuple[Any, Any]:
    """Megatron's own writer; what its import says about libraries for GPUs is no matter here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
    finally:
        logging.disable(before)
    return DType, IndexedDatasetBuilder


def _add_documents(builder: Any, documents: Iterable[str], encode: Encode, vocab_size: int, eod: int) -> Written:
    written = tokens = empty = 0
    for batch in _batches(documents):
        for ids in encode(batch):
            if not ids:
                empty += 1
                continue
            # numpy before 2.0 would wrap it around in uint16, and training would see another token.
            if (largest := max(ids)) >= vocab_size:
                raise LrpsError(
                    f"The tokenizer gave id {largest}, but vocab_size is {vocab_size}.",
                    "Pass the tokenizer's own vocabulary size.",
                )
            ids.append(eod)
            builder.add_document(ids, [len(ids)])
            written += 1
            tokens += len(ids)
    return Written(documents=written, tokens=tokens, empty_documents=empty)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
