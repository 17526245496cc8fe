"""The plan as a JSON schema, for editors and other tools. A key is described by the text under it in its model."""

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from megatron_lrps.plan.keys.base import PlanModel
from megatron_lrps.plan.model import Plan
from megatron_lrps.schedule import SHAPES


class _Untitled(GenerateJsonSchema):
    """Omits the title of each key, which would only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of plan.yaml.

    It has every key with the type and limits of its value. Only `lrps plan` checks rules on several keys, such as where
    a branch may fork.
    """
    schema = Plan.model_json_schema(schema_generator=_Untitled)
    models = {model.__name__: model for model in PlanModel.__subclasses__()}
    for name, part in [("Plan", schema), *schema["$defs"].items()]:
        part["description"] = plain(inspect.getdoc(models[name]) or "")
        keys, texts = keys_of(part), texts_of(models[name])
        for key in keys.keys() & texts.keys():
            keys[key]["description"] = texts[key]
    shapes = "; ".join(f"`{name}` {shape.about}" for name, shape in SHAPES.items())
    keys_of(schema["$defs"]["Decay"])["shape"]["description"] += f" {shapes[0].upper()}{shapes[1:]}."
    del schema["properties"]["base"]  # the folder that relative paths start from: the reader sets it, no plan does
    # Only the keys that are written override the campaign's.
    for name, key in (("Version", "decay"), ("Cut", "decay"), ("Version", "merge")):
        keys_of(schema["$defs"][name])[key]["anyOf"][0] = {"$ref": f"#/$defs/{key.title()}"}
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "The plan of a Megatron-LRPS campaign"}


def keys_of(part: dict[str, Any]) -> dict[str, Any]:
    """Return key -> its schema in a section, also if the section has shorter forms."""
    forms = [part, *part.get("anyOf", [])]
    found: dict[str, Any] = next(form["properties"] for form in forms if "properties" in form)
    return found


def texts_of(model: type[BaseModel]) -> dict[str, str]:
    """Return key -> the text under it in the model's source.

    Not read by pydantic (``use_attribute_docstrings``), which would parse every model at each start.
    """
    [body] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for key, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and isinstance(text, ast.Expr):
            texts[key.target.id] = plain(inspect.cleandoc(ast.literal_eval(text.value)))
    return texts


def plain(text: str) -> str:
    """Return a docstring as Markdown: paragraphs on one line each, code between single backticks."""
    paragraphs = text.replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
