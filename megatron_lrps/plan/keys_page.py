"""docs/plan.md: every key of the plan, from the JSON schema and an example of each section."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from megatron_lrps.plan.json_schema import keys_of, plan_schema

HEAD = """\
# The plan, key by key

<!-- Made from the models in megatron_lrps/plan: change the text under a key there, then run
     `lrps schema --markdown --output docs/plan.md`. -->

A campaign is one YAML file. Keys that are not listed here are refused.
`lrps init` writes a plan, and `lrps schema --output plan.schema.json` the same keys as a JSON schema; with this as the
plan's first line an editor that has a YAML language server completes and checks them:

```yaml
# yaml-language-server: $schema=plan.schema.json
campaign: llama-1.2b
```

What stands in the tables: a **count** is a whole number from 1 on, also written `10_000`, `1.5M` or `21B`. A **name**
is a plain file name of letters, digits, `.`, `_` and `-`. A **path** is a file, a folder or an index prefix (X for
X.bin and X.idx): absolute, from the plan file's folder on, from `~`, or with variables such as `${SCRATCH}` (`$$` is a
dollar sign). A **value** is true, false, a number, text, or a list of numbers or texts.
"""

EXAMPLES = {
    "": """\
campaign: llama-1.2b
save: runs/llama-1.2b
paradigm: [lrps, cpt]
sequence_length: 2048
global_batch_size: 1024
max_epochs: 2
branch: {data: mixed}
megatron: {num-layers: 24, hidden-size: 2048, num-attention-heads: 16, bf16: true}
script_flags: {my-router-noise: 0.1}
""",
    "lr": "lr: {max: 3.0e-4, min: 3.0e-5, warmup_iters: 500}\n",
    "decay": """\
decay: {shape: knee, alpha: 0.6, hold: 0.5}
---
decay: {shape: multi-step, alpha: 0.6, steps: [[0.8, 0.316], [0.9, 0.1]], branch_steps: [[0.0, 0.316], [0.5, 0.1]]}
""",
    "merge": "merge: {window: 0.2, checkpoints: 10, weights: mean}\n",
    "merge.slurm": """\
merge: {slurm: {partition: cpu, time: "2:00:00", gpus: 0, mem: 64G, cpus_per_task: 8}}
promote: {slurm: {partition: short, time: "4:00:00", gpus: 1, mem: 200G, cpus_per_task: 8}}
""",
    "versions[]": """\
versions:
  - name: v1
    iters: 10000
    train: [[0.7, data/v1/web], [0.3, data/v1/code]]
    valid: {web: data/valid/web}
    sources: {data/v1/web: raw/v1/web/*.jsonl.zst, data/v1/code: raw/v1/code, data/valid/web: raw/valid.jsonl}
  - {name: v2, tokens: 21B, train: [[1.0, data/v2/web]], decay: {shape: 1-sqrt, alpha: 0.2}, max_epochs: 1}
  - {name: v3, samples: 10_240_000, train: [[1.0, data/v3/web]], replay: 0.1, merge: {window: 0.1}}
""",
    "versions[].sources.PREFIX": """\
versions:
  - name: v1
    iters: 10000
    train: [[0.5, data/v1/web], [0.5, data/v1/code]]
    valid: {notes: data/valid/notes}
    sources:
      data/v1/web: [raw/v1/a.jsonl, raw/v1/b.jsonl.gz]
      data/v1/code: {files: raw/code, format: parquet, field: content, max_unreadable: 0.001}
      data/valid/notes: {files: raw/notes.txt, documents: paragraph}
""",
    "versions[].replay": """\
versions:
  - {name: v1, iters: 10000, train: [[1.0, data/v1/web]]}
  - {name: v2, iters: 10000, train: [[1.0, data/v2/web]], replay: 0.1}
  - {name: v3, iters: 10000, train: [[1.0, data/v3/web]], replay: {share: 0.1, weights: {v1: 2, v2: 1}}}
  - {name: v4, iters: 10000, train: [[1.0, data/v4/web]], replay: even}
""",
    "versions[].branch": """\
branch: {data: mixed}
---
versions:
  - {name: v1, iters: 10000, train: [[1.0, data/v1/web]]}
  - name: v2
    iters: 10000
    train: [[1.0, data/v2/web]]
    branch:
      data: [[0.5, v1], [0.3, v2], [0.2, data/curated]]
      sources: {data/curated: raw/curated/*.jsonl.zst}
      soup: 3
  - name: v3
    iters: 10000
    train: [[1.0, data/v3/web]]
    branch: {data: [[1.0, data/books]], sequence_length: 8192, megatron: {rotary-base: 500000}}
megatron: {position-embedding-type: rope}
""",
    "main": "main: {adopt: runs/stock/checkpoints, iteration: 20000}\n",
    "paths[]": """\
paths:
  - {name: trunk, end: 8000, order: chained, schedule: [{kind: warmup, until: 500}, {kind: hold}]}
  - {name: first, parent: trunk, fork: 6000, end: 10000, version: v1, schedule: [{kind: cosine, until: 10000}]}
""",
    "paths[].schedule[]": """\
paths:
  - name: stairs
    end: 10000
    schedule: [{kind: warmup, until: 500}, {kind: hold, until: 8000}, {kind: factor, factor: 0.1, until: 10000}]
""",
    "cuts[]": "cuts: [{name: v1-early, fork: 3000, iters: 1000, decay: {shape: 1-sqrt}}]\n",
    "tokenizer": """\
tokenizer: {type: sentencepiece, model: data/tokenizer.model}
---
tokenizer: {type: huggingface, model: data/tokenizer, special_tokens: ["<|user|>", "<|model|>"]}
---
tokenizer: {type: tiktoken, model: data/vocabulary.json, vocab_size: 131072, pattern: v2, num_special_tokens: 1000}
""",
    "tokenizer.train": """\
tokenizer:
  type: sentencepiece
  model: data/tokenizer.model
  train: {algorithm: bpe, vocab_size: 32000, megabytes: 200}
""",
    "launch": "launch: {device: cpu, ft_launcher: true, local: {processes: 2}}\n",
    "launch.local": "launch: {local: {processes: 8, stop_timeout: 600}}\n",
    "launch.slurm": """\
launch:
  slurm:
    nodes: 4
    gpus_per_node: 8
    cpus_per_task: 12
    partition: h100
    time: "24:00:00"
    account: llm
    qos: high
    constraint: ib
    mem: "0"
    exclusive: true
    container: images/pytorch.sqsh
    container_runtime: pyxis
    mounts: [/scratch/llm]
    site: site.sh
    signal_before: 600
    stop_timeout: 900
    max_requeues: 5
    options: {reservation: llm, overcommit: true}
""",
    "keep": "keep: {latest: 2, every: 5000, released_forks: false}\n",
    "evaluate": """\
evaluate: {tasks: [arc_easy, hellaswag], task_folder: tasks, few_shot: 0, limit: 500, backend: hf, batch_size: 16}
---
evaluate: {engine: megatron, tokens: 10M}
""",
    "promote": "promote: {gate: gate.txt, check: true, dtype: bf16, slurm: {gpus: 1}}\n",
    "alerts": """\
alerts:
  window: 128
  not_finite: true
  skipped: 25
  loss_spike: 8
  divergence: null
  grad_norm: 10
  stall: 20
  stall_least: 300
  stall_pause: 3600
  stall_ends: true
  straggler: 1.5
  cool_down: 600
  hook: [./page-me, team-llm]
  hook_timeout: 30
""",
    "trackers": "trackers: {mlflow: {}, comet: {}}\n",
    "trackers.mlflow": "trackers: {mlflow: {uri: https://mlflow.example.org, experiment: llama}}\n",
    "trackers.comet": "trackers: {comet: {project: llama, workspace: team-llm, online: false}}\n",
}
"""Section -> the part of a plan that shows its keys; several alternatives stand between lines of dashes."""


WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true, false", "null": "`null`"}
"""A type of JSON Schema -> what the page calls it."""


class Section(NamedTuple):
    """A section of the plan.

    Attributes:
        label: Where it stands, such as ``versions[].replay``; empty for the plan itself.
        part: Its JSON schema.
    """

    label: str
    part: dict[str, Any]


def plan_markdown() -> str:
    """The page docs/plan.md."""
    schema = plan_schema()
    sections = list(sections_of(schema))
    places = {id(section.part): section.label for section in sections}
    pages = [HEAD]
    for label, part in sections:
        says = re.sub(r"^`[\w.]+`(: | of )", "", part["description"])
        pages.append(f"## `{label}`\n\n{says[0].upper()}{says[1:]}\n" if label else "## Top level\n")
        pages.append(f"```yaml\n{EXAMPLES[label].replace('---\n', '# or\n')}```\n")
        required = next(form.get("required", []) for form in [part, *part.get("anyOf", [])] if "properties" in form)
        rows = ["| key | takes | default | meaning |", "|---|---|---|---|"]
        for key, node in keys_of(part).items():
            takes = _takes(node, schema["$defs"], places)
            default = "**needed**" if key in required else _default(node)
            rows.append(f"| `{key}` | {takes} | {default} | {_cell(node['description'])} |")
        pages.append("\n".join(rows) + "\n")
    return "\n".join(pages)


def sections_of(schema: dict[str, Any]) -> Iterator[Section]:
    """Every section of the plan once, in the order of its keys, each with what is nested in it after it."""
    seen: set[str] = set()

    def below(label: str, part: dict[str, Any]) -> Iterator[Section]:
        yield Section(label, part)
        for key, node in keys_of(part).items():
            for suffix, name in _nested(node):
                if name not in seen:
                    seen.add(name)
                    yield from below(f"{label}.{key}{suffix}".lstrip("."), schema["$defs"][name])

    # `decay` of a version is the campaign's: it stands where it is met first, at the top.
    yield from below("", schema)


def _nested(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what stands behind the key, the definition) of every section that a key holds."""
    if "$ref" in node:
        yield "", node["$ref"].rpartition("/")[2]
    for form in node.get("anyOf", []):
        yield from _nested(form)
    if "items" in node:
        yield from ((f"[]{suffix}", name) for suffix, name in _nested(node["items"]))
    for values in _values(node):
        yield from ((f".PREFIX{suffix}", name) for suffix, name in _nested(values))


def _values(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a mapping of names of the user's own holds."""
    named = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    return [values for values in named if isinstance(values, dict)]


def _takes(node: dict[str, Any], definitions: dict[str, Any], places: dict[int, str]) -> str:
    """What a value may be, in words."""

    def of(part: dict[str, Any]) -> str:
        return _takes(part, definitions, places)

    if "$ref" in node:
        part = definitions[node["$ref"].rpartition("/")[2]]
        label = places[id(part)]
        shorter = [of(form) for form in part.get("anyOf", []) if "properties" not in form]
        return " or ".join([*shorter, f"[keys](#{re.sub(r'[^\w-]', '', label).lower()})"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(of(form) for form in node["anyOf"] if _matters(form, node)))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{_scalar(value)}`" for value in node.get("enum", [node.get("const")]))
    if "$comment" in node:
        return str(node["$comment"])  # a count, a name or a value
    if node.get("format") == "path":
        return "path"
    if "prefixItems" in node:
        return f"[{', '.join(of(item) for item in node['prefixItems'])}]"
    if node["type"] == "array":
        word = of(node["items"])
        return f"list of {word}s" if word in ("count", "name", "path", "text") else f"list of {word}"
    if values := _values(node):
        return f"mapping to {of(values[0])}"
    return _bounded(node)


def _matters(form: dict[str, Any], node: dict[str, Any]) -> bool:
    """Whether a form of a value is worth a word: `null` is not where it is what an absent key means."""
    return form.get("type") != "null" or node.get("default") is not None


def _bounded(node: dict[str, Any]) -> str:
    signs = {"exclusiveMinimum": "> ", "minimum": "≥ ", "exclusiveMaximum": "< ", "maximum": "≤ "}
    limits = [f"{sign}{node[key]:g}" for key, sign in signs.items() if key in node and node[key] < 10**15]
    return " ".join([WORDS[node["type"]], ", ".join(limits)]).strip()


def _default(node: dict[str, Any]) -> str:
    default = node.get("default")
    return "" if default is None or default in ([], {}) or "$ref" in node else f"`{_scalar(default)}`"


def _scalar(value: Any) -> str:
    """A value as a plan has it, on one line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"\b(\d+)\.0\b", r"\1", text)


def _cell(text: str) -> str:
    return text.replace("\n\n", " ").replace("|", "\\|")
