"""The report's pictures on its page, each with what it shows in words."""

from collections.abc import Sequence

from megatron_lrps.monitor.pictures.loss_picture import loss_sets, lost
from megatron_lrps.monitor.report.html import Markup, picture
from megatron_lrps.monitor.report.sections import Material


def tree_picture(found: Material, svg: str) -> Markup:
    """The tree of paths."""
    tree = found.tree
    return picture(
        svg,
        name="tree",
        title=f"Paths of {tree.plan.campaign}",
        description=f"Each of {len(tree.paths)} paths from its fork to its end. The list below has the same in words.",
        caption="Strong lines are trained, dotted ones are planned. Hollow circles on a line are forks; the mark at "
        "its end is a version, filled where it is trained.",
    )


def lr_picture(found: Material, svg: str) -> Markup:
    """The learning rate of every path."""
    tree = found.tree
    end = max(path.end for path in tree.paths)
    roots = [path.name for path in tree.paths if path.parent is None and path.adopted is None]
    adopted = "".join(f"{path.name} is {path.origin}. " for path in tree.paths if path.adopted is not None)
    forks = [f"{path.name} off {path.parent} at {path.fork:,}" for path in tree.paths if path.parent is not None]
    said = f"{len(tree.paths)} paths over {end:,} iterations. {adopted}"
    said += f"From scratch: {_several(roots)}. " if roots else ""
    said += f"Forks: {_several(forks)}. " if forks else ""
    return picture(
        svg,
        name="lr-paths",
        title=f"Learning rate of {tree.plan.campaign}",
        description=f"{said}The table below has the learning rate of each path in words.",
        caption="Circles are forks, dots the ends of versions, filled where they are trained. Dotted lines are "
        "planned: not trained yet.",
    )


def loss_picture(found: Material, svg: str) -> Markup:
    """Training losses on one axis, and validation window by window."""
    plan = found.tree.plan
    batch, tokens = plan.global_batch_size, plan.global_batch_size * plan.sequence_length
    end = max(path.end for path in found.tree.paths)
    logged = [name for name, run in found.runs.items() if run]
    return picture(
        svg,
        name="losses",
        title=f"Losses of {plan.campaign}",
        description=f"Training loss of {_several(logged)}, and below it the loss on each validation "
        "set. The table below has the latest values.",
        caption=f"An iteration is {batch:,} samples, which are {tokens:,} tokens; the last one, {end:,}, is at "
        f"{end * batch:,} samples and {end * tokens:,} tokens. Strong lines are medians, faint ones show each part's "
        f"lowest and highest loss.{_lost(found)}",
    )


def _lost(found: Material) -> str:
    """Which losses are not finite, path by path and set by set: the curves do not have them."""
    named = {"training": "lm loss", **{f"on {name}": tag for name, tag in loss_sets(found.tree).items()}}
    said = []
    for path, run in found.runs.items():
        for name, tag in named.items():
            if stretches := lost(run.get(tag, [])):
                count, first, last = sum(each for *_, each in stretches), stretches[0][0], stretches[-1][1]
                where = f"at {first:,}" if first == last else f"from {first:,} to {last:,}"
                said.append(f"{path} {name}, {count:,} {where}")
    return f" Not finite, and left out of the curves: {_several(said, '; ')}." if said else ""


def _several(names: Sequence[str], between: str = ", ") -> str:
    shown = between.join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
