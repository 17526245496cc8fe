"""The experts of a config.json."""

from megatron_lrps.convert.families.config_keys import ConfigKeys, shown


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
