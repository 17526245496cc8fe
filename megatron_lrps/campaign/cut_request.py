"""Cutting a version off a running main path: the request, its answer, and the extended plan.

``<save>/paths/main/cut.json`` asks the job that trains main to save at its current iteration. The job saves at its next
iteration boundary, answers with the event ``cut`` in main's history, and removes the request.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Plan, parse_plan
from megatron_lrps.storage.files import read_json, write_atomic

EVENT = "cut"


@dataclass(frozen=True, kw_only=True)
class CutRequest:
    """A request; ``token`` matches it with its answer."""

    name: str
    token: str


def request_file(main: PathFolder) -> Path:
    """Return the file that holds a request to main's job."""
    return main.root / "cut.json"


def ask(main: PathFolder, name: str) -> CutRequest:
    """Ask main's job to save now; raises StorageError."""
    request = CutRequest(name=name, token=secrets.token_hex(8))
    write_atomic(request_file(main), f'{{"name": "{request.name}", "token": "{request.token}"}}\n')
    return request


def asked(main: PathFolder) -> CutRequest | None:
    """Return the waiting request, or None; a torn one counts as none."""
    data = read_json(request_file(main)) or {}
    name, token = data.get("name"), data.get("token")
    return CutRequest(name=name, token=token) if isinstance(name, str) and isinstance(token, str) else None


def withdraw(main: PathFolder, request: CutRequest) -> None:
    """Remove a request, withdrawn or answered, unless the file holds a newer one by now."""
    if asked(main) == request:
        request_file(main).unlink(missing_ok=True)


def answered(main: PathFolder, request: CutRequest) -> int | None:
    """Return the iteration that main's job saved for a request, or None if it has not yet."""
    for event in reversed(events(main)):
        if event.get("event") == EVENT and event.get("token") == request.token:
            iteration = event.get("iteration")
            return iteration if isinstance(iteration, int) else None
    return None


def grown_text(text: str, plan: Plan, *, name: str, fork: int, iters: int, shape: str | None) -> str:
    """Return a plan file's text with one more cut; its comments and order stay.

    Args:
        text: The text of the plan file.
        plan: The plan that it holds.
        name: The name of the new version.
        fork: The iteration that it forks after.
        iters: The iterations of its decay.
        shape: The shape of its decay, or None for the campaign's shape.

    Raises:
        PlanError: if the text is written in a way that cannot be extended.
    """
    decay = f", decay: {{shape: {shape}}}" if shape else ""
    entry = f"- {{name: {name}, fork: {fork}, iters: {iters}{decay}}}\n"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    fix = f"add to it by hand: cuts: [{entry[2:].strip()}]."
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise PlanError("The plan is written on one line, where nothing can be added.", fix)
    found = next((value for key, value in root.value if key.value == "cuts"), None)
    if found is None:
        grown = f"{text.rstrip()}\ncuts:\n  {entry}"
    elif isinstance(found, yaml.SequenceNode) and not found.flow_style and found.value:
        line = _last_line(found.value[-1]) + 1
        lines = text.splitlines(keepends=True)
        lines[line - 1] = lines[line - 1].rstrip("\n") + "\n"
        grown = "".join([*lines[:line], " " * found.start_mark.column + entry, *lines[line:]])
    else:
        raise PlanError("cuts: is no block list, where a line could be added.", fix)
    # The edit is textual, so its meaning is compared: one more cut, and nothing else.
    again = parse_plan(grown, base=plan.base)
    same = again.model_dump(exclude={"cuts"}) == plan.model_dump(exclude={"cuts"})
    if not same or again.cuts[:-1] != plan.cuts:
        raise PlanError("The plan is written in a way where nothing can be added safely.", fix)
    return grown


def _last_line(node: yaml.Node) -> int:
    """Return the line that a node's own text ends on; a block's end mark comes after trailing comments."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return int(node.end_mark.line)
