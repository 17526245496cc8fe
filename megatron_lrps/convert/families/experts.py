"""The experts of a config.json."""

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families.config_keys import ConfigKeys, shown
from megatron_lrps.convert.families.layer_kinds import layers_of

PREDICTIONS = ("num_nextn_predict_layers", "num_mtp_layers")
"""The keys for the number of layers of multi-token prediction."""


def experts_of(config: ConfigKeys, key: str, other: str, *, same: bool = True) -> tuple[int, int]:
    """Return the number of experts, and how many of them a token goes to.

    Args:
        config: The config.
        key: The family's key for the number of experts.
        other: Another key for the same number.
        same: transformers reads the other key where the first one is missing.

    Raises:
        RefusedError: the two keys disagree, or a token goes to more experts than there are.
    """
    config.harmless("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")  # only of training
    experts = config.count(key if key in config or other not in config or not same else other)
    if other in config and config.count(other) != experts:
        raise config.refused(other, f"{key} is {experts}")
    top_k = config.count("num_experts_per_tok")
    if top_k > experts:
        raise config.refused("num_experts_per_tok", f"there are {shown(experts)} experts")
    return experts, top_k


def groups_of(config: ConfigKeys, experts: int, top_k: int, *, best: int) -> tuple[int, int] | None:
    """Return the number of groups of experts, and how many of them a token chooses; None if that changes nothing.

    A group's score is the sum of its best experts'. Megatron takes as many of them as one group may give on average
    (``group_limited_topk``), transformers a fixed number.

    Args:
        config: The config.
        experts: The number of experts.
        top_k: How many of them a token goes to.
        best: The number of best experts that make a group's score in transformers.

    Raises:
        RefusedError: the groups do not divide the experts, have too few, or have another score in Megatron.
    """
    groups, chosen = config.count("n_group"), config.count("topk_group")
    if experts % groups or experts // groups < best:
        raise config.refused("n_group", f"a divisor of the {experts} experts that leaves {best} in a group can")
    if chosen > groups or chosen * (experts // groups) < top_k:
        raise config.refused("topk_group", f"at most {groups} groups that together have {top_k} experts can")
    if chosen == groups:
        return None
    if top_k // chosen != best:
        raise config.refused(
            "topk_group",
            f"a group has the score of its best {best}, and in Megatron, with num_experts_per_tok {top_k}, that of its "
            f"best {top_k // chosen}",
        )
    return groups, chosen


def group_keys_of(model: Model) -> dict[str, int]:
    """Return the config.json keys of the groups."""
    groups, chosen = model.expert_groups or (1, 1)
    return {"n_group": groups, "topk_group": chosen}


def first_dense_of(config: ConfigKeys) -> tuple[bool, ...] | None:
    """Return for each layer whether it has no experts, by ``first_k_dense_replace``; None if all have; or refuse."""
    layers, first = layers_of(config), config.value("first_k_dense_replace")
    if type(first) is not int or not 0 <= first < layers:
        raise config.refused("first_k_dense_replace", f"a number of layers below {layers} can")
    return tuple(layer < first for layer in range(layers)) if first else None


def predictions_of(config: ConfigKeys) -> int:
    """Return the number of layers of multi-token prediction, which transformers does not compute; or refuse."""
    found = [config.value(key) for key in PREDICTIONS if key in config] or [config.value(PREDICTIONS[0])]
    config.harmless(*PREDICTIONS)
    if any(type(each) is not int or not 0 <= each <= 8 for each in found) or len(set(found)) > 1:
        raise config.refused(PREDICTIONS[0], "a number up to 8 can", found)
    return int(found[0])
