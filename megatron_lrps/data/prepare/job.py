"""Makes Megatron's ``.bin`` and ``.idx`` from raw text: makes missing indexes, and continues unfinished ones."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.index_writer import write_index
from megatron_lrps.data.prepare.content_hashes import Contents, renewed, whole_files
from megatron_lrps.data.prepare.encode import Encoding, PartFiles, dtype_of, lengths_of, library_versions, tokens_of
from megatron_lrps.data.prepare.encoders import TokenizerSpec, load_reference
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.made_from import UNHASHED, difference, index_key, options_of
from megatron_lrps.data.prepare.prepared_record import Prepared, read_prepared, record_file, totals, unreadable_file
from megatron_lrps.data.prepare.shards import SHARD_BYTES, Shard, cut, shard_key
from megatron_lrps.data.prepare.workers import Task, encode_all
from megatron_lrps.errors import RefusedError, StoppedError, StorageError
from megatron_lrps.storage.files import replacing, write_atomic
from megatron_lrps.storage.ownership import acquire
from megatron_lrps.wording import counted

_EXAMPLES = 3


@dataclass
class Reporter:
    """The callbacks while indexes are made.

    Attributes:
        begin: Called once with the bytes of text that are still to be encoded. The bytes of packed files are guessed.
        advance: Called with the bytes of text and the tokens of this run so far.
        say: Called with each line for the user.
    """

    begin: Callable[[int], None]
    advance: Callable[[int, int], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class _Index:
    """An index to make: its source and options, its shards with their keys, and the folder of its parts."""

    source: TextSource
    options: dict[str, Any]
    shards: list[Shard]
    keys: list[str]
    contents: Contents

    @property
    def folder(self) -> Path:
        return self.source.prefix.with_name(f".{self.source.prefix.name}.prepare")

    def done(self) -> list[Encoding | None]:
        """Return each shard's encoding, if it was made from the same content."""
        parts = [PartFiles(self.folder, shard.name) for shard in self.shards]
        found = [part.done(key) for part, key in zip(parts, self.keys, strict=True)]
        read = [
            (number, span.file, entry)
            for number, (shard, encoding) in enumerate(zip(self.shards, found, strict=True))
            if encoding
            for span, entry in zip(shard.spans, encoding.files, strict=True)
        ]
        same = self.contents.same((file, entry) for _, file, entry in read)
        changed = {number for (number, _, _), agrees in zip(read, same, strict=True) if not agrees}
        return [None if number in changed else encoding for number, encoding in enumerate(found)]


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise a ``StoppedError`` on Ctrl-C and on SIGTERM. For the main thread of a command."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("Stopped.", "Run the same command to continue. Finished shards are kept.") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare_sources(
    sources: Sequence[TextSource],
    spec: TokenizerSpec,
    *,
    workers: int,
    force: bool,
    reporter: Reporter,
    shard_bytes: int = SHARD_BYTES,
) -> list[Prepared]:
    """Make the index of each source that has none yet.

    Args:
        sources: The sources to make indexes from.
        spec: The tokenizer.
        workers: The number of processes that encode.
        force: Replace existing indexes that were made from something else.
        reporter: Called with the progress.
        shard_bytes: Bytes of text in a shard.

    Raises:
        RefusedError: An existing index was made from something else, a file cannot be read, more documents are
            unreadable than the source allows, or another job makes the same index.
        StorageError: The disk is full or refuses a write. Finished shards stay, and the same call continues.
    """
    tokenizer = tokenizer_fingerprint(spec.model) if spec.model is not None else ""
    contents = Contents(workers, reporter.say)
    indexes = []
    for source in sources:
        shards, options = cut(source, shard_bytes), options_of(source, spec, tokenizer)
        indexes.append(_Index(source, options, shards, [shard_key(shard, options) for shard in shards], contents))
    known = {index.source.prefix: there for index in indexes if (there := _there(index, force)) is not None}
    missing = [index for index in indexes if index.source.prefix not in known]
    started = time.monotonic()
    with ExitStack() as held:
        for index in missing:
            # The folder outlives a job that was killed, so that the next job continues with its parts.
            held.enter_context(acquire(index.folder, say=reporter.say))
        _encode(missing, spec, workers, reporter)
        made = {index.source.prefix: _publish(index, spec, tokenizer, started, reporter) for index in missing}
        for index in missing:
            _clear(index.folder)
    for index in missing:
        with suppress(OSError):  # the next job may be in it already
            index.folder.rmdir()
    return [(known | made)[index.source.prefix] for index in indexes]


def _clear(folder: Path) -> None:
    """Remove the parts, also those of killed jobs, but not the files that say who holds the folder."""
    for file in folder.iterdir():
        if file.name.lstrip(".").startswith("shard-"):
            with suppress(OSError):
                file.unlink()


def _there(index: _Index, force: bool) -> Prepared | None:
    """Return the record of an existing index, if it is what would be made; None if the index is to be made."""
    prefix = index.source.prefix
    prepared = read_prepared(prefix)
    why = difference(prepared, index.source, index.options, index.contents) if prepared else "by something else"
    if prepared is not None and not why:
        return _renewed(prepared, index.source)
    if force or not any(Path(f"{prefix}{suffix}").exists() for suffix in (".bin", ".idx")):
        return None
    if prepared is None and all(index.done()):  # the job was killed after the index and before its record
        return None
    what = f"{index.source.key}: {prefix}.bin is there, made {why}."
    if why == UNHASHED:
        fix = (
            "Move the .bin, .idx and .prepared.json away, and prepare it again. If `bin_sha256` is the same in both "
            "records, the text is the same, and training continues with it. If not, move the old files back."
        )
        raise RefusedError(what, fix)
    raise RefusedError(
        what, "Name another index, move this one away, or replace it with --force, which ends what was trained on it."
    )


def _renewed(prepared: Prepared, source: TextSource) -> Prepared:
    """Return the record with the files' present names and times, so that the files need not be read again."""
    if not prepared.options or (sources := renewed(source.files, prepared.sources)) == prepared.sources:
        return prepared
    found = replace(prepared, sources=sources)
    with suppress(StorageError):  # the folder cannot be written, but the index is right
        _record(found)
    return found


def _record(prepared: Prepared) -> None:
    write_atomic(record_file(Path(prepared.prefix)), json.dumps(prepared.to_json(), indent=2) + "\n")


def _encode(indexes: Sequence[_Index], spec: TokenizerSpec, workers: int, reporter: Reporter) -> None:
    tasks = [
        Task(source=index.source, shard=shard, key=key, folder=index.folder)
        for index in indexes
        for shard, key, done in zip(index.shards, index.keys, index.done(), strict=True)
        if done is None
    ]
    if not tasks:
        return
    kept = sum(len(index.shards) for index in indexes) - len(tasks)
    if kept:
        reporter.say(f"{kept} of {kept + len(tasks)} shards are there already.")
    reporter.begin(sum(task.shard.bytes for task in tasks))
    for task, encoding in encode_all(tasks, spec, workers, reporter.advance):
        if encoding.differing:
            reporter.say(
                f"{task.source.prefix.name} shard {task.shard.number}: the fast engine gave other ids for "
                f"{encoding.differing[:40]!r}, so {encoding.engine} encoded the whole shard."
            )


def _publish(index: _Index, spec: TokenizerSpec, tokenizer: str, started: float, reporter: Reporter) -> Prepared:
    encodings = [encoding for encoding in index.done() if encoding is not None]
    if len(encodings) < len(index.shards):
        raise RefusedError("A shard's files vanished while the others were made.", "Run the same command again.")
    prefix, counts = index.source.prefix, totals(encodings)
    bad, listed = sum(counts["unreadable"].values()), unreadable_file(prefix)
    _list_unreadable(index, encodings, listed)
    if bad > index.source.max_unreadable * (bad + counts["documents"]):
        with listed.open(encoding="utf-8") as lines:
            examples = "; ".join(map(_example, islice(lines, _EXAMPLES)))
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["unreadable"].items())
        raise RefusedError(
            f"{index.source.key}: {bad} of {bad + counts['documents']} documents cannot be read ({reasons}), more than "
            f"max_unreadable {index.source.max_unreadable:g}: {examples}. All are in {listed}.",
            "Correct the text (convert it to UTF-8 with `iconv`) or `field`, or raise max_unreadable.",
        )
    if not counts["tokens"]:
        raise RefusedError(
            f"{index.source.key}: none of {counted(counts['documents'], 'document')} gives a token.",
            "Give documents with text.",
        )
    dtype = dtype_of(load_reference(spec))
    parts = [PartFiles(index.folder, shard.name) for shard in index.shards]
    written = write_index(prefix, tokens_of(parts), lambda: lengths_of(parts), dtype)
    prepared = Prepared(
        prefix=str(prefix),
        key=index_key(index.source, index.options),
        **counts,
        tokenizer=tokenizer,
        bin_bytes=counts["tokens"] * dtype.itemsize,
        bin_sha256=written.bin_sha256,
        idx_sha256=written.idx_sha256,
        sources=whole_files(index.source.files, (entry for encoding in encodings for entry in encoding.files)),
        options=index.options,
        libraries=library_versions(),
        seconds=round(time.monotonic() - started, 3),
    )
    _record(prepared)
    if bad:
        reporter.say(f"{prefix.name}: {counted(bad, 'document')} cannot be read, listed in {listed}.")
    return prepared


def _list_unreadable(index: _Index, encodings: Sequence[Encoding], listed: Path) -> None:
    """List all shards' unreadable documents in one file, if there are any, with line numbers in the source files."""
    before: Counter[str] = Counter()
    with replacing(listed) as (new,), new.open("w", encoding="utf-8") as out:
        for shard, encoding in zip(index.shards, encodings, strict=True):
            spans = zip(shard.spans, encoding.files, strict=True)
            # A shard of an earlier job may have been read under another name.
            names = {entry["file"]: str(span.file.path) for span, entry in spans}
            with PartFiles(index.folder, shard.name).unreadable.open(encoding="utf-8") as lines:
                for record in map(json.loads, lines):
                    record["file"] = names[record["file"]]
                    if "line" in record:
                        record["line"] += before[record["file"]]
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
            for number, count in encoding.lines.items():
                before[str(shard.spans[int(number)].file.path)] += count
    if not listed.stat().st_size:
        listed.unlink()


def _example(line: str) -> str:
    record = json.loads(line)
    where = next((f" {unit} {record[unit]}" for unit in ("line", "row", "offset") if unit in record), "")
    return f"{Path(record['file']).name}{where}: {record['reason']}"
