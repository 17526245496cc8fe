"""Reading plan.yaml: one clear line for whatever is wrong with it."""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.values import shown

if TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    # PyYAML without libyaml reads the same, slower.
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH, MAX_NODES = 50, 100_000
"""What a plan may hold: deeper nesting overflows the C stack, and aliases of aliases grow without a bound."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
_NAMES = {"campaign", "name", "parent", "version"}


class _Loader(_BaseLoader):
    """YAML's safe loader, which also refuses a key that is given twice (YAML would keep the last)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; PyYAML itself lets through a KeyError for `!!bool maybe`, and the like."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, PlanError):
            raise
        except Exception:
            kind = node.tag.rpartition(":")[2]
            raise PlanError(f"line {_line(node)}: {shown(node.value)} is no {kind}.", "mend it, or quote it.") from None


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which quotes what ``_Loader`` would read as a number."""


# YAML 1.1 reads 3e-4 as text (it wants 3.0e-4); everybody writes it, so unquoted it is a number.
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+\Z"),
        list("-+.0123456789"),
    )


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    pairs = []
    for key_node, value_node in node.value:
        if key_node.tag != _MERGE:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise PlanError(f"line {line}: a list or mapping stands as a key.", "use plain text as the key.")
            # Keys and names are text as it is written: 007, 1e5, 2024-11-01 and `on` are no numbers, dates or truths.
            key, key_node = key_node.value, _text(key_node)
            if key in seen:
                raise PlanError(f"{_key(key)}: the key is given twice, again in line {line}.", "keep one of them.")
            seen.add(key)
            if key in _NAMES and isinstance(value_node, yaml.ScalarNode) and not value_node.tag.endswith(":null"):
                value_node = _text(value_node)
        pairs.append((key_node, value_node))
    node.value = pairs
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _line(item: yaml.Node | yaml.Event) -> int:
    return item.start_mark.line + 1 if item.start_mark else 1


def _text(node: yaml.ScalarNode) -> yaml.ScalarNode:
    return yaml.ScalarNode(_TEXT, node.value, node.start_mark, node.end_mark)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _refuse_bombs(text: str) -> None:
    """Refuse what would overflow the stack or the memory, from the events alone, before anything is built."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # (anchor, size of all before it)
    total = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > MAX_DEPTH:
                raise PlanError(f"line {_line(event)}: nested deeper than {MAX_DEPTH} levels.", "flatten it.")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        total += sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
        if total > MAX_NODES:
            raise PlanError(
                f"line {_line(event)}: more than {MAX_NODES:,} values, aliases counted in full.",
                "write fewer, or fewer aliases of aliases.",
            )


def load_plan(path: str | Path) -> Plan:
    """The plan in the file ``path``.

    Raises:
        PlanError: naming the key, the value and the mend.
    """
    return parse_plan(_read(path, "plan"), base=Path(path).expanduser().resolve().parent, name=str(path))


def load_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """The keys in a YAML file, read as a plan's are; ``what`` it is called in an error. Raises PlanError."""
    return _parse_yaml(_read(path, what), str(path))


def _read(path: str | Path, what: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        mend = f"name a {what} file, such as those in examples/."
        raise PlanError(f"{what} {path} does not exist.", mend) from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~user of nobody
        raise PlanError(f"{what} {path} cannot be read: {error}.", "give a readable text file in UTF-8.") from None


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        _refuse_bombs(text)
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeError) as error:
        raise PlanError(f"{name} is no YAML: {_one_line(error)}.", "mend that line.") from None
    if not isinstance(data, dict):
        raise PlanError(f"{name} holds {type(data).__name__}, not keys.", "begin with `campaign: NAME`.")
    return data


def parse_plan(text: str, *, base: Path, name: str = "plan") -> Plan:
    """The plan in ``text``, its relative paths starting at ``base``; raises PlanError."""
    return parse_mapping(_parse_yaml(text, name), base=base)


def parse_mapping(data: dict[str, Any], *, base: Path) -> Plan:
    """The plan of these keys, its relative paths starting at ``base``; raises PlanError."""
    if "base" in data:
        raise PlanError("base: unknown key.", "remove it; relative paths start at the plan file's folder.")
    try:
        plan = Plan.model_validate({**data, "base": base}, context={"base": base})
    except ValidationError as error:
        raise _explain(error) from None
    for key, versions in (("versions", plan.versions), ("cuts", plan.cuts)):
        for version in versions:
            try:
                plan.decay_of(version)
            except ValidationError as error:
                raise _explain(error, prefix=f"{key}.{version.name}.decay") from None
    return plan


def plan_text(plan: Plan, *, inside: Path | None = None) -> str:
    """A plan as YAML that reads back to the same plan.

    Args:
        plan: What it is to say.
        inside: The folder that the text is to lie in: paths below it are written relative to it, so that it can be
            moved. Without it all are absolute, and the text can be read from any folder.
    """
    data = plan.model_dump(mode="json", exclude_unset=True, context={"folder": inside})
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the plan's meaning: key order, comments and the places of its files do not change it."""
    data = plan.model_dump(mode="json", exclude_unset=True, exclude={"save"}, context={"places": False})
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


_MENDS = {
    "extra_forbidden": "remove it or mend its spelling; the README lists the keys.",
    "missing": "add it.",
    "model_type": "give keys under it.",
    "dict_type": "give keys under it.",
    "tuple_type": "give a list.",
    "string_type": "give text; in quotes where it looks like a number.",
}


def _explain(error: ValidationError, prefix: str = "") -> PlanError:
    """The first error of pydantic's in one line: key, value, mend."""
    details = error.errors(include_url=False)
    first = details[0]
    where = [_key(part) for part in first["loc"]]
    key = ".".join([prefix, *where] if prefix else where) or "plan"
    more = f" ({len(details) - 1} more after this one)" if len(details) > 1 else ""
    kind, value = first["type"], shown(first["input"])
    if kind == "extra_forbidden":
        return PlanError(f"{key}: unknown key, with the value {value}{more}.", _MENDS[kind])
    if kind == "missing":
        return PlanError(f"{key}: missing{more}.", _MENDS[kind])
    message = first["msg"].removeprefix("Value error, ")
    if kind != "value_error":  # one of pydantic's own, such as "Input should be greater than 0"
        mend = message[0].lower() + message[1:]
        return PlanError(f"{key}: {value} is refused{more}.", _MENDS.get(kind) or f"{mend}.")
    what, _, mend = message.partition("; ")
    # What concerns a whole mapping names its values itself.
    start = f"{key}:" if isinstance(first["input"], dict) else f"{key}: {value}"
    return PlanError(f"{start} {what}{more}.", f"{mend or 'change this value'}.")


def _key(part: str | int) -> str:
    """A key as messages show it: on one line, whatever the plan holds."""
    text = str(part)
    return text if text.isprintable() and len(text) <= 60 else shown(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
