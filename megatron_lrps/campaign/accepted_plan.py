"""A running campaign's plan may grow; what has been trained may not change."""

from collections.abc import Sequence

from megatron_lrps.campaign.adopted_run import refuse_changed_adoption
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.same_run import may_be_allowed
from megatron_lrps.campaign.trained_data import TrainedData
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import Plan, PlannedPath, Tree, Window, expand, plan_text
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.load import load_yaml, parse_mapping
from megatron_lrps.plan.megatron_arguments import arguments, given
from megatron_lrps.plan.model import FlagValue
from megatron_lrps.plan.paths import MAIN
from megatron_lrps.storage.files import write_atomic


def accept(tree: Tree, allow: Sequence[str] = ()) -> None:
    """Take a plan for its campaign: compare it with the accepted one, then make it the accepted one.

    Args:
        tree: The plan's.
        allow: Destinations of Megatron's arguments that may differ (``--lrps-allow``).

    Raises:
        RefusedError: where it changes what has been trained, naming the key and both values.
        StorageError: where plan.yaml cannot be written.
    """
    if refuse_contradiction(tree, allow):
        write_atomic(CampaignFolder(tree.plan.folder).plan, _accepted_text(tree))


def refuse_contradiction(tree: Tree, allow: Sequence[str] = ()) -> bool:
    """Compare a plan with the accepted one; writes nothing. Takes and raises what ``accept`` does, but StorageError.

    Returns:
        Whether it is another than the accepted one.
    """
    campaign = CampaignFolder(tree.plan.folder)
    try:
        accepted = accepted_tree(campaign)
    except PlanError as error:
        raise RefusedError(
            f"The accepted plan {campaign.plan} is damaged: {error.what}",
            "restore it, or remove it: every checkpoint is compared with the plan all the same.",
        ) from None
    if accepted is not None:
        if _accepted_text(accepted) == _accepted_text(tree):
            return False
        trained = {path.name: _trained(campaign, path) for path in accepted.paths}
        refuse_changed_past(accepted, tree, trained, allow)
    return True


def _accepted_text(tree: Tree) -> str:
    return plan_text(tree.plan, inside=tree.plan.folder)


def accepted_tree(campaign: CampaignFolder) -> Tree | None:
    """The tree of the plan that a campaign goes by, or None where it has none yet; raises PlanError."""
    if not campaign.plan.is_symlink() and not campaign.plan.exists():
        return None
    # A campaign is where its folder is: a plan accepted by lrps 0.1 says where that was once.
    keys = load_yaml(campaign.plan, "plan") | {"save": str(campaign.root)}
    return expand(parse_mapping(keys, base=campaign.root))


def _trained(campaign: CampaignFolder, path: PlannedPath) -> int:
    """The iteration that a path has been trained to; its fork where it has trained nothing itself."""
    newest = Checkpoints.in_folder(campaign.path(path.name).checkpoints).newest
    return path.fork if newest is None else newest


def refuse_changed_past(old: Tree, new: Tree, trained: dict[str, int], allow: Sequence[str] = ()) -> None:
    """Refuse a plan that contradicts what has been trained.

    Args:
        old: The accepted plan's tree.
        new: The plan to be accepted.
        trained: Path of ``old`` -> iteration that it has been trained to.
        allow: Destinations of Megatron's arguments that may differ.

    Raises:
        RefusedError: naming the key, both values and the fix.
    """
    reached = max((trained[path.name] for path in old.paths if trained[path.name] > path.fork), default=0)
    if reached == 0:
        return
    fix = "what has been trained may not change; restore it, or start a campaign with another `save`."
    then, now = _shared(old.plan), _shared(new.plan)
    for key, before in then.items():
        if before != now[key]:
            raise RefusedError(f"{key}: {before} has been trained, the plan now says {now[key]}.", fix)
    _refuse_changed_arguments(old.plan, new.plan, allow, fix)
    refuse_changed_adoption(old.plan, new.plan, MAIN, fix)
    trained_data = TrainedData(old)
    models = [plan.tokenizer.model if plan.tokenizer else None for plan in (old.plan, new.plan)]
    if not trained_data.same_tokenizer(*models):
        raise RefusedError(
            f"tokenizer.model: {models[0]} has been trained, and {models[1]} is not the same by its content.",
            "name a copy of the one that was trained with, or start a campaign with another `save`.",
        )
    _refuse_changed_windows(old, new, reached, trained_data, fix)
    for path in old.paths:
        position = trained[path.name]
        if position > path.fork and path.name in new.by_name:
            _refuse_changed_path(path, new.path(path.name), position, new.plan.global_batch_size, fix)


def _refuse_changed_arguments(old: Plan, new: Plan, allow: Sequence[str], fix: str) -> None:
    """Refuse other values under ``megatron:`` of what belongs to a path's identity."""
    flags = [_identity_flags(plan) for plan in (old, new)]
    before, after = map(given, flags)
    for name, argument in arguments().items():
        if name not in before or before[name] == after[name] or name in allow:
            continue
        flag = next((each for each in argument.flags if any(each in said for said in flags)), argument.flags[0])
        unset = False if argument.kind == "switch" else argument.default
        then, now = (f"{said[flag]}" if flag in said else f"{unset} (Megatron's default)" for said in flags)
        otherwise = f" (or give the ranks --lrps-allow {name})" if may_be_allowed(name) else ""
        raise RefusedError(
            f"megatron.{flag}: {then} has been trained, the plan now says {now}.", f"{fix.rstrip('.')}{otherwise}."
        )


def _identity_flags(plan: Plan) -> dict[str, FlagValue]:
    """The flags of a plan that ``megatron:`` may say, and what it means where it does not."""
    cpu = CPU_FLAGS if plan.launch.device == "cpu" else {}
    return {"max-position-embeddings": plan.sequence_length, **cpu, **plan.megatron}


def _refuse_changed_windows(old: Tree, new: Tree, reached: int, trained: TrainedData, fix: str) -> None:
    for index, before in enumerate(old.windows):
        if before.start >= reached:
            return
        key = f"versions.{before.version.name}"
        if index >= len(new.windows):
            raise RefusedError(f"{key}: trained up to iteration {reached}, and gone from the plan.", fix)
        after = new.windows[index]
        if before.version.name != after.version.name:
            raise RefusedError(f"{key}: has been trained; the plan now says {after.version.name} there.", fix)
        # A window that main is still inside of may not change its length either: its data were cut by it.
        if before.iterations != after.iterations:
            raise RefusedError(
                f"{key}.iters: {before.iterations} has been trained, the plan now says {after.iterations}.", fix
            )
        _refuse_changed_data(before, after, trained, fix)
        replays = [version.replay or "none" for version in (before.version, after.version)]
        if replays[0] != replays[1]:
            raise RefusedError(f"{key}.replay: {replays[0]} has been trained, the plan now says {replays[1]}.", fix)


def _refuse_changed_data(before: Window, after: Window, trained: TrainedData, fix: str) -> None:
    key = f"versions.{before.version.name}.train"
    then, now = ([(weight, str(prefix)) for weight, prefix in window.version.train] for window in (before, after))
    if [weight for weight, _ in then] != [weight for weight, _ in now]:
        raise RefusedError(f"{key}: {then} has been trained, the plan now says {now}.", fix)
    for number, ((_, old), (_, new)) in enumerate(zip(before.version.train, after.version.train, strict=True)):
        if not trained.same_index(before.version.name, number, old, new):
            raise RefusedError(
                f"{key}: {old} has been trained, the plan now says {new}, whose content is another or cannot be "
                "compared.",
                f"name a copy of what was trained; {fix}",
            )


def _refuse_changed_path(before: PlannedPath, after: PlannedPath, position: int, batch: int, fix: str) -> None:
    key = f"path {before.name}"
    for field in ("parent", "fork", "order"):
        if getattr(before, field) != getattr(after, field):
            raise RefusedError(
                f"{key}: {field} {getattr(before, field)} has been trained, the plan now says {getattr(after, field)}.",
                fix,
            )
    if before.order == "mixed" and before.end != after.end:
        raise RefusedError(f"{key}: end {before.end} ordered its data, the plan now says {after.end}.", fix)
    if before.schedule.until(position * batch) != after.schedule.until(position * batch):
        raise RefusedError(
            f"{key}: its learning rate up to iteration {position} has been trained, and the plan now gives another.",
            fix,
        )
    # Main only stops at its last fork point: that it has gone further changes no version.
    if before.kind != "main" and after.end < position:
        raise RefusedError(f"{key}: trained up to iteration {position}, the plan now ends it at {after.end}.", fix)


def _shared(plan: Plan) -> dict[str, object]:
    """What all paths of a plan share, by key."""
    tokenizer = plan.tokenizer
    return {
        "sequence_length": plan.sequence_length,
        "global_batch_size": plan.global_batch_size,
        **{f"lr.{key}": value for key, value in plan.lr.model_dump().items()},
        "main.iteration": plan.main and plan.main.iteration,
        "tokenizer.type": tokenizer and tokenizer.type,
        # Neither `model` nor `train`: what the model holds counts.
        "tokenizer.vocab_size": tokenizer and tokenizer.vocab_size,
        "tokenizer.pattern": tokenizer and tokenizer.pattern,
        "tokenizer.num_special_tokens": tokenizer and tokenizer.num_special_tokens,
        "tokenizer.special_tokens": tokenizer and tokenizer.special_tokens,
    }
