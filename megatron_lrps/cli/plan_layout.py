"""``lrps plan --check-layout``: Megatron's answer on the parallel layout, in text."""

from typing import Any

from megatron_lrps.monitor.text_table import table

_GB = 10**9


def layout_text(facts: dict[str, Any]) -> str:
    """Format the answer of ``launch.layout_check.check_layout`` as a table, with what it leaves open below."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, path in facts["paths"].items():
        names.setdefault(_row(path), []).append(name)
    first, gpu = next(iter(facts["paths"].values())), facts["gpu_bytes"]
    memory = ("weights+optimizer GB", "activations GB", "GB")
    headers = ("layout", "micro-batches", "parameters of a rank", *memory, "paths")
    lines = [
        f"Layout of {facts['world_size']:,} ranks: Megatron accepts every path\n",
        table(headers, [(*row, ", ".join(paths)) for row, paths in names.items()]),
        "",
        f"Parameters: of the first, a middle and the last stage; the vocabulary is padded to {first['vocabulary']:,}",
        f"Memory: Megatron's theoretical report for the fullest GPU, which has {gpu // _GB} GB",
    ]
    if facts["assumed_vocabulary"]:
        lines.append(f"The tokenizer is not there: a vocabulary of {facts['assumed_vocabulary']:,} tokens is assumed")
    fullest = max(sum(path["memory"].values()) for path in facts["paths"].values())
    if fullest > gpu:
        lines.append(
            f"TOO LARGE: {fullest / _GB:.1f} GB are more than {gpu // _GB}; raise TP or PP, lower micro-batch-size, or "
            "recompute (the report counts no saving by --recompute-granularity full)"
        )
    if first["not_built"]:
        lines.append(f"The shards were not built: {first['not_built']}")
    if first["unproven"]:
        lines.append(
            "Accepted, but not tried, as only Transformer Engine on a GPU can run it: " + ", ".join(first["unproven"])
        )
    return "\n".join(lines)


def _row(path: dict[str, Any]) -> tuple[object, ...]:
    sizes = path["layout"].items()
    held, passing = path["memory"]["weights_and_optimizer"], path["memory"]["activations"]
    return (
        " ".join(f"{key}{size}" for key, size in sizes if size > 1 or key in ("TP", "PP", "DP")),
        path["microbatches"],
        ", ".join(f"{shard['parameters']:,}" for shard in path["shards"]) or "-",
        *(f"{size / _GB:.1f}" for size in (held, passing, held + passing)),
    )
