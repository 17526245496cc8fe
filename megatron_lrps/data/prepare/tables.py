"""Reads the documents of parquet and arrow files with pyarrow, a batch of rows at a time."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from megatron_lrps.data.library import library
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.errors import RefusedError

_ROWS = 1024
_BYTES = 8 * 2**20
"""Bytes of a column that are read at once, about: rows may be long."""


def row_groups(file: SourceFile) -> list[tuple[int, int]]:
    """Return the first byte of each row group of a parquet file, and its size unpacked. Raises RefusedError."""
    with closing(_parquet(file.path)) as opened:
        groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
        return [(_begin(group), group.total_byte_size) for group in groups]


def _begin(group: Any) -> int:
    columns = [group.column(number) for number in range(group.num_columns)]
    places = [(column.dictionary_page_offset, column.data_page_offset) for column in columns]
    return min((place for pair in places for place in pair if place), default=0)


def rows(file: SourceFile, field: str, start: int, end: int | None) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a column: the row's number in the file, and its value (UTF-8 bytes, None, or something else).

    Args:
        file: A parquet or arrow file.
        field: The column.
        start: The first row group, for parquet.
        end: The row group after the last; None for all.

    Raises:
        RefusedError: The file is torn, or has no such column.
    """
    try:
        if file.kind == "parquet":
            yield from _parquet_rows(file.path, field, start, end)
        else:
            yield from _arrow_rows(file.path, field)
    except (OSError, _pyarrow().ArrowInvalid) as error:
        raise torn(file.path, error) from None


def torn(path: Path, error: Exception) -> RefusedError:
    """Return the error for a file whose content ends too early, or is damaged."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RefusedError(f"{path} cannot be read: {reason}.", "Copy it again, or take it out of the plan's sources.")


def _parquet_rows(path: Path, field: str, start: int, end: int | None) -> Iterator[tuple[int, Any]]:
    with closing(_parquet(path)) as opened:
        _column(path, field, opened.schema_arrow)
        metadata = opened.metadata
        number = sum(metadata.row_group(group).num_rows for group in range(start))
        for group in range(start, metadata.num_row_groups if end is None else end):
            size, rows = metadata.row_group(group).total_byte_size, metadata.row_group(group).num_rows
            once = min(_ROWS, 1 + _BYTES * rows // max(1, size))
            batches = opened.iter_batches(batch_size=once, row_groups=[group], columns=[field], use_threads=False)
            for batch in batches:
                yield from enumerate(_values(batch.column(0)), number)
                number += batch.num_rows


def _arrow_rows(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    pa = _pyarrow()
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:  # the other of arrow's two formats
            source.seek(0)
            reader = pa.ipc.open_file(source)
        column = _column(path, field, reader.schema)
        number = 0
        batches = reader if hasattr(reader, "__iter__") else map(reader.get_batch, range(reader.num_record_batches))
        for batch in batches:
            for first in range(0, batch.num_rows, _ROWS):
                yield from enumerate(_values(batch.column(column).slice(first, _ROWS)), number + first)
            number += batch.num_rows


def _column(path: Path, field: str, schema: Any) -> int:
    index: int = schema.get_field_index(field)
    if index < 0:
        raise RefusedError(
            f"{path} has no column {field!r}; it has {', '.join(schema.names)}.", "Set `field` in the plan's source."
        )
    if not (_is_text(kind := schema.field(index).type) or _pyarrow().types.is_null(kind)):
        raise RefusedError(
            f"{path}: the column {field!r} is of type {kind}, which is not text.",
            f"Set another `field` (it has {', '.join(schema.names)}), or convert it to text.",
        )
    return index


def _is_text(kind: Any) -> bool:
    """Whether a type is strings, or binary that may be UTF-8, of any layout."""
    types = _pyarrow().types
    kind = kind.value_type if types.is_dictionary(kind) else getattr(kind, "storage_type", kind)
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(types, f"is_{name}")(kind) for name in names)


def _values(column: Any) -> list[Any]:
    pa = _pyarrow()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if not pa.types.is_null(column.type):
        # As bytes, so that one row that is not UTF-8 does not spoil the others.
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values


def _parquet(path: Path) -> Any:
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    try:
        return parquet.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise torn(path, error) from None


def _pyarrow() -> Any:
    return library("pyarrow", "Install it: pip install 'megatron-lrps[data]'")
