"""The text to train a tokenizer on: a part of every training source, and the same part every time."""

import io
from collections.abc import Iterator, Sequence

from megatron_lrps.data.prepare.documents import Tally, documents
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.shards import cut

_PLACES = 64


def sample_texts(sources: Sequence[TextSource], limit: int) -> Iterator[str]:
    """Documents from the beginnings of evenly spaced shards of every source.

    Args:
        sources: The sources of training data. Each gives about the same amount.
        limit: UTF-8 bytes in all, about; fewer if there is less text.

    Raises:
        RefusedError: A file cannot be read.
    """
    share = max(1, limit // max(1, len(sources)))
    for source in sources:
        size = sum(file.bytes for file in source.files)
        shards = cut(source, shard_bytes=max(2**20, size // _PLACES))
        chosen = [shards[len(shards) * place // _PLACES] for place in range(_PLACES)]
        chosen = list(dict.fromkeys(chosen)) if len(shards) > _PLACES else shards
        left = share
        for place, shard in enumerate(chosen):
            here = left // (len(chosen) - place)
            for text in documents(shard, source, Tally(io.StringIO())):
                if here <= 0:
                    break
                yield text
                here -= (size := len(text.encode()))
                left -= size
