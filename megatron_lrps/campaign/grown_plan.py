"""A plan that has grown by a cut: a version besides the planned ones, forked off main (``lrps cut``)."""

import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Plan, parse_plan


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
