"""Reading plan.yaml: one clear line for whatever is wrong with it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.model import Plan

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # PyYAML without libyaml: the same result, slower
    from yaml import SafeLoader as _BaseLoader


class _Loader(_BaseLoader):
    """YAML's safe loader, which also refuses a key that is given twice (YAML would keep the last)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if key in seen:
            line = key_node.start_mark.line + 1
            raise PlanError(f"{key}: the key is given twice, again in line {line}.", "keep one of them.")
        seen.add(key)
    loader.flatten_mapping(node)  # type: ignore[no-untyped-call]
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _floats(value: Any) -> Any:
    """YAML 1.1 reads 3e-4 as text (it wants 3.0e-4); everybody writes it, so numbers become numbers."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def load_plan(path: str | Path) -> Plan:
    """The plan in the file ``path``.

    Raises:
        PlanError: naming the key, the value and the mend.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"plan {path} does not exist.", "name a plan file, such as examples/quickstart.yaml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"plan {path} cannot be read: {error}.", "give a readable text file in UTF-8.") from None
    return parse_plan(text, base=file.resolve().parent, name=str(path))


def parse_plan(text: str, *, base: Path, name: str = "plan") -> Plan:
    """The plan in ``text``, its relative paths starting at ``base``; raises PlanError."""
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise PlanError(f"{name} is no YAML: {_one_line(error)}.", "mend that line.") from None
    if not isinstance(data, dict):
        raise PlanError(f"{name} holds {type(data).__name__}, not keys.", "begin with `campaign: NAME`.")
    if "base" in data:
        raise PlanError("base: unknown key.", "remove it; relative paths start at the plan file's folder.")
    data = _floats(data)
    if isinstance(data.get("campaign"), int | float):
        data["campaign"] = str(data["campaign"])
    try:
        plan = Plan.model_validate({**data, "base": base})
    except ValidationError as error:
        raise _explain(error, data) from None
    for version in plan.versions:
        try:
            plan.decay_of(version)
        except ValidationError as error:
            raise _explain(error, version.decay or {}, prefix=f"versions.{version.name}.decay") from None
    return plan


def plan_text(plan: Plan) -> str:
    """The accepted plan as YAML, its paths absolute, so that it can be read from any folder."""
    data = plan.model_dump(mode="json", exclude_unset=True)
    data["save"] = str(plan.folder)
    for entry, version in zip(data["versions"], plan.versions, strict=True):
        entry["train"] = [[weight, str(plan.resolve(prefix))] for weight, prefix in version.train]
        entry["valid"] = {key: str(plan.resolve(prefix)) for key, prefix in version.valid.items()}
    if plan.tokenizer and plan.tokenizer.model:
        data["tokenizer"]["model"] = str(plan.resolve(plan.tokenizer.model))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the plan's meaning: key order, comments and relative paths do not change it."""
    canonical = json.dumps(yaml.safe_load(plan_text(plan)), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


_MENDS = {
    "extra_forbidden": "remove it or mend its spelling; the README lists the keys.",
    "missing": "add it.",
}


def _explain(error: ValidationError, data: Any, prefix: str = "") -> PlanError:
    """The first error of pydantic's in one line: key, value, mend."""
    details = error.errors(include_url=False)
    first = details[0]
    where = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
    # A union reports each alternative; its own name (float, str, list[...]) is no key of the plan.
    key = ".".join([prefix, *where] if prefix else where) or "plan"
    more = f" ({len(details) - 1} more after this one)" if len(details) > 1 and first["type"] != "union" else ""
    if first["type"] == "extra_forbidden":
        return PlanError(f"{key}: unknown key, with the value {first['input']!r}{more}.", _MENDS["extra_forbidden"])
    if first["type"] == "missing":
        return PlanError(f"{key}: missing{more}.", _MENDS["missing"])
    message = first["msg"].removeprefix("Value error, ")
    what, _, mend = message.partition("; ")
    value = "" if isinstance(first["input"], dict) else f" {_short(first['input'])}"
    return PlanError(f"{key}:{value} {what}{more}.", f"{mend or 'change this value'}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
