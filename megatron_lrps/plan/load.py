"""Reading plan.yaml, with one clear line for any error."""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.merging import Merge
from megatron_lrps.plan.keys.rates import Decay
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.model import Plan

if TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    # PyYAML without libyaml reads the same, slower.
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH, MAX_NODES = 50, 100_000
"""Limits of a plan: deeper nesting overflows the C stack, and nested aliases grow without bound."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
_NAMES = {"campaign", "name", "parent", "version"}
_NULL_TOKENIZER = ("type", "null")
"""The tokenizer type named null, which YAML would read as no value."""


class _Loader(_BaseLoader):
    """YAML's safe loader, which also refuses duplicate keys (YAML would keep the last)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; PyYAML raises bare errors, such as KeyError for `!!bool maybe`."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, PlanError):
            raise
        except Exception:
            kind = node.tag.rpartition(":")[2]
            raise PlanError(
                f"line {_line(node)}: {shown(node.value)} is not a valid {kind}.", "correct it, or put it in quotes."
            ) from None


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which quotes text that any reader could take for a number or a date."""


# YAML 1.1 reads 010 as 8, 12:30 as 750, 2024-11-01 as a date, and 3e-4 as text: nobody means that. Here a number is
# what looks like one to everybody; all else is text as it is written, which `count` and Megatron read as decimal.
_NUMBERS = (
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)\Z", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        "-+.0123456789",
    ),
)
_NO_NUMBERS = ("bool", "null", "merge", "value", "yaml")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] in _NO_NUMBERS]
    for first, found in _BaseLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in _NUMBERS:
    for _yaml in (_Loader, _Dumper):
        _yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    pairs = []
    for key_node, value_node in node.value:
        if key_node.tag != _MERGE:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise PlanError(f"line {line}: a list or a mapping is used as a key.", "use plain text as the key.")
            # Keys and names are text as it is written: 007, 1e5 and `on` are no numbers or truths.
            key, key_node = key_node.value, _text(key_node)
            if key in seen:
                from megatron_lrps.plan.key_errors import key_text

                raise PlanError(
                    f"{key_text(key)}: the key is given twice, the second time in line {line}.", "keep one of them."
                )
            seen.add(key)
            if isinstance(value_node, yaml.ScalarNode) and (
                (key in _NAMES and not value_node.tag.endswith(":null")) or (key, value_node.value) == _NULL_TOKENIZER
            ):
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
    open_nodes: list[tuple[str | None, int]] = []  # (anchor, size of everything before it)
    total = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > MAX_DEPTH:
                raise PlanError(
                    f"line {_line(event)}: the plan is nested deeper than {MAX_DEPTH} levels.", "nest it less."
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        total += sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
        if total > MAX_NODES:
            raise PlanError(
                f"line {_line(event)}: the plan has more than {MAX_NODES:,} values, with what aliases repeat.",
                "write fewer values, or fewer aliases of aliases.",
            )


def load_plan(path: str | Path) -> Plan:
    """Read the plan in the file ``path``.

    Raises:
        PlanError: naming the key, the value and the fix.
    """
    return parse_plan(_read(path, "plan"), base=Path(path).expanduser().resolve().parent, name=str(path))


def load_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read the keys of a YAML file like a plan's; errors call it ``what``. Raises PlanError."""
    return _parse_yaml(_read(path, what), str(path))


def _read(path: str | Path, what: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        fix = f"name a {what} file, such as those in examples/."
        raise PlanError(f"{what} {path} does not exist.", fix) from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~user of an unknown user
        raise PlanError(
            f"{what} {path} cannot be read: {error}.", "name a text file in UTF-8 that you may read."
        ) from None


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        _refuse_bombs(text)
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise PlanError(f"{name} is not valid YAML: {why}.", "correct that line.") from None
    if not isinstance(data, dict):
        raise PlanError(
            f"{name} holds a value of type {type(data).__name__} and not keys.", "begin with `campaign: NAME`."
        )
    return data


def parse_plan(text: str, *, base: Path, name: str = "plan") -> Plan:
    """Read the plan in ``text``, with relative paths starting at ``base``; raises PlanError."""
    return parse_mapping(_parse_yaml(text, name), base=base)


def parse_mapping(data: dict[str, Any], *, base: Path) -> Plan:
    """Return the plan of these keys, with relative paths starting at ``base``; raises PlanError."""
    if "base" in data:
        raise PlanError("base is an unknown key.", "remove it; relative paths start at the folder of the plan file.")
    try:
        plan = Plan.model_validate({**data, "base": base}, context={"base": base})
    except ValidationError as error:
        raise _explained(error, Plan, data) from None
    for key, versions in (("versions", plan.versions), ("cuts", plan.cuts)):
        for version in versions:
            try:
                plan.decay_of(version)
            except ValidationError as error:
                raise _explained(error, Decay, version.decay, prefix=f"{key}.{version.name}.decay") from None
    for version in plan.versions:
        try:
            plan.merge_of(version)
        except ValidationError as error:
            raise _explained(error, Merge, version.merge, prefix=f"versions.{version.name}.merge") from None
    return plan


def _explained(error: ValidationError, model: type[BaseModel], data: Any, prefix: str = "") -> PlanError:
    from megatron_lrps.plan.key_errors import explain  # needed only for a refusal, and takes a hundredth of a start

    return explain(error, model, data, prefix)


def plan_text(plan: Plan, *, inside: Path | None = None) -> str:
    """Return a plan as YAML that reads back to the same plan.

    Args:
        plan: The plan.
        inside: The folder that the text will be in: paths below it are written relative to it, so that it can be
            moved. Without it all paths are absolute, and the text can be read from any folder.
    """
    data = plan.model_dump(mode="json", exclude_unset=True, context={"folder": inside})
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def plan_hash(plan: Plan) -> str:
    """Return the SHA-256 of the plan's meaning: key order, comments and the folders of its files do not change it."""
    data = plan.model_dump(mode="json", exclude_unset=True, exclude={"save"}, context={"places": False})
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
