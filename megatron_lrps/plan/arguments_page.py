"""Writes ``docs/arguments.md``: ``python -m megatron_lrps.plan.arguments_page > docs/arguments.md``."""

from megatron_lrps.plan.flags import DEFAULTS, FIXED, OWNED
from megatron_lrps.plan.megatron_arguments import CLASSES, RELEASE, Argument, arguments
from megatron_lrps.plan.proved_flags import is_refused, proved

_INTRO = f"""\
# Megatron's arguments: what belongs to a path, and what may differ

This page is generated from the table that the checks use (Megatron-Core {RELEASE}); a test fails when it is not up to
date, and another one when a Megatron release brings an argument that the table does not have.

## What is compared

A fork and a resume must train the same model as the checkpoint that they start from. Before the model is built, each
argument below that is "compared" is taken from the checkpoint's own saved arguments and from this run; where the two
differ, the run is refused with exit code 78, and the message names the argument, both values and the reason. What may
differ is the list of classes that are not compared; everything else is compared, also an argument that this page does
not have (of a newer Megatron, or of your own script) where both sides have it. An argument that one side does not
have, as a checkpoint of an older Megatron, counts as Megatron's default.

`lrps plan` and `lrps run` compare the plan's `megatron:` section with that of the accepted plan in the same way, before
any rank starts.

`--lrps-allow KEY` lets an argument differ, by name (`--lrps-allow clip_grad hidden_dropout`): you say that it shall be
another run from there on. It is given to the ranks, so with your own launcher, beside `--lrps-plan` and `--lrps-path`.
What is marked "never" cannot be allowed: the optimizer's state, the weights or the position in the data would be wrong.

## What a plan's `megatron:` section takes

The flags below, without their dashes, and values of the kind that the table says: `true` for a switch (`false` leaves
any flag out), one value, or a list. An unknown flag is refused by `lrps plan`, with the one that was probably meant,
and so is a value that Megatron would not take. Some flags are refused there because the plan decides them with a key
of its own, others because a campaign would be wrong with them; both are marked.

The column "proved" says what has been tried: "yes" is a flag with which a test trains a small model on a CPU, main and
a version that forks off it, whose first loss must be main's (`make test-flags` tries them all and writes the list);
"refused" is one that `lrps plan` refuses by name, whatever its value. Any other flag is passed on to Megatron, and
`lrps plan` names it in one line: it may well work, as most that need a GPU do, but no test of this package says so.

Flags that are not Megatron's own, such as those that a fork or your own training script adds
(`extra_args_provider`), have a section of their own. They are passed on as they are, and nothing checks their
spelling, so the script that the ranks run must know them:

```yaml
script_flags: {{my-router-noise: 0.1}}     # python -m megatron_lrps my_pretrain.py --lrps-plan ... --lrps-path ...
```

## The classes

| class | an argument in it | between checkpoint and run | `--lrps-allow` |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole page in Markdown."""
    classes = "".join(
        f"| [{name}](#{name}) | {each.does} | {'compared' if each.compared else 'may differ'} "
        f"| {('yes' if each.allowable else 'never') if each.compared else ''} |\n"
        for name, each in CLASSES.items()
    )
    return _INTRO + classes + "".join(map(_section, CLASSES))


def _section(name: str) -> str:
    rows = "".join(_row(each) for each in arguments().values() if each.in_class == name)
    head = "| flag | destination | value | default | in a plan | proved |\n|---|---|---|---|---|---|\n"
    return f"\n### {name}\n\n{head}{rows}"


def _row(argument: Argument) -> str:
    flags = ", ".join(f"`--{flag}`" for flag in argument.flags)
    in_plan = {f"`{OWNED[flag]}`" for flag in argument.flags if flag in OWNED}
    in_plan |= {"refused" for flag in argument.flags if is_refused(flag)}
    in_plan |= {f"only `{DEFAULTS[flag]}`" for flag in argument.flags if flag in FIXED}
    default = "" if argument.default is None else f"`{argument.default}`".replace("|", "\\|")
    value = argument.needs if argument.kind else ""
    known = "yes" if proved() & set(argument.flags) else ""
    last = "refused" if any(map(is_refused, argument.flags)) else known
    cells = (flags, f"`{argument.destination}`", value, default, ", ".join(sorted(in_plan)), last)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(page(), end="")
