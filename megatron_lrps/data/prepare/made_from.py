"""The inputs of an index, and how they differ from those of an existing index."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from megatron_lrps.data.prepare.content_hashes import Contents, FileRecord
from megatron_lrps.data.prepare.encoders import TokenizerSpec
from megatron_lrps.data.prepare.find import SourceFile, TextSource
from megatron_lrps.data.prepare.prepared_record import Prepared

_TOKENIZER = "the tokenizer"
_OPTIONS = (
    _TOKENIZER,
    "tokenizer.type",
    "tokenizer.vocab_size",
    "the tokenizer's EOD",
    "tokenizer.pattern",
    "tokenizer.num_special_tokens",
    "tokenizer.special_tokens",
    "BOS and EOS of the tokenizer's folder",
    "the tokenizer's folder as transformers reads it",
)

UNHASHED = (
    "before hashes of text were kept, and its files' names or times have changed since: "
    "whether they hold the same text cannot be told"
)
"""The answer for an old record, which has no hashes, if its key differs."""


def options_of(source: TextSource, spec: TokenizerSpec, tokenizer: str) -> dict[str, Any]:
    """Return everything besides the files that decides the ids, under the plan's names.

    Args:
        source: Says what a document is.
        spec: The tokenizer.
        tokenizer: The fingerprint of the tokenizer's model.
    """
    backend = hashlib.sha256(spec.backend.encode()).hexdigest()
    of_tokenizer = (spec.type, spec.vocab_size, spec.eod, spec.pattern, spec.num_special_tokens)
    wrapping = (list(spec.special_tokens), spec.wrapped, backend)
    values = dict(zip(_OPTIONS, (tokenizer, *of_tokenizer, *wrapping), strict=True))
    return {"field": source.field, "documents": source.documents, **values}


def index_key(source: TextSource, options: dict[str, Any]) -> str:
    """Return one hash of the options and the files' kinds and sizes. Their content is hashed apart in the record."""
    files = [(file.kind, file.packing, file.bytes) for file in source.files]
    return hashlib.sha256(json.dumps({"files": files, "options": options}).encode()).hexdigest()


def difference(prepared: Prepared, source: TextSource, options: dict[str, Any], contents: Contents) -> str:
    """Say how an index would be made differently now, in words that follow "made"; "" if there is no difference.

    Raises:
        RefusedError: A file has to be read for that, and cannot be read.
    """
    if not prepared.options:
        return _difference_of_old(prepared, source, options)
    if others := [name for name, value in options.items() if prepared.options.get(name) != value]:
        return "with " + ", ".join(
            f"{name} {_shown(prepared.options.get(name))} (now {_shown(options[name])})" for name in others
        )
    if found := _other_files(prepared.sources, source.files):
        return found
    same = contents.same(zip(source.files, prepared.sources, strict=True))
    changed = [file for file, agrees in zip(source.files, same, strict=True) if not agrees]
    if changed:
        return f"from other text: the content of {changed[0].path}{_more(changed)} has changed since"
    if prepared.key != index_key(source, options):
        return "from the same files, read as files of another kind (`format`, or the end of a name)"
    return ""


def _other_files(entries: Sequence[FileRecord], files: Sequence[SourceFile]) -> str:
    if len(entries) != len(files):
        return f"from other text: of {len(entries)} files, and now there are {len(files)}"
    pairs = zip(entries, files, strict=True)
    changed = [(entry, file) for entry, file in pairs if entry["bytes"] != file.bytes]
    if not changed:
        return ""
    entry, file = changed[0]
    was = "" if entry["file"] == str(file.path) else f" {entry['file']}, which had"
    return f"from other text: {file.path} has {file.bytes} bytes now, then{was} {entry['bytes']}{_more(changed)}"


def _more(found: Sequence[Any]) -> str:
    return f" (and of {len(found) - 1} files more)" if len(found) > 1 else ""


def _shown(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)


def _difference_of_old(prepared: Prepared, source: TextSource, options: dict[str, Any]) -> str:
    """Return the difference for an old record without options and hashes: only its key identifies the inputs."""
    files = [(str(file.path), file.kind, file.bytes, file.mtime_ns, 0, None) for file in source.files]
    if prepared.key == _old_key(files, options):
        return ""
    if prepared.tokenizer != options[_TOKENIZER]:
        return f"with {_TOKENIZER} {_shown(prepared.tokenizer)} (now {_shown(options[_TOKENIZER])})"
    if found := _other_files(prepared.sources, source.files):
        return found
    pairs = zip(prepared.sources, source.files, strict=True)
    then = [(entry["file"], file.kind, file.bytes, entry["mtime_ns"], 0, None) for entry, file in pairs]
    return UNHASHED if prepared.key == _old_key(then, options) else "by other options"


def _old_key(files: Sequence[tuple[Any, ...]], options: dict[str, Any]) -> str:
    made_from = {
        "format": 1,
        "pieces": files,
        "field": options["field"],
        "documents": options["documents"],
        "tokenizer": [options[name] for name in _OPTIONS[:6]],
        "wrapping": [options[name] for name in _OPTIONS[6:]],
    }
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
