"""Adam with the interface and the state of the fused ones (apex, Transformer Engine).

Megatron's distributed optimizer saves with torch's AdamW but cannot load: it looks for a step per
parameter, where the fused ones keep one per group. With theirs, a CPU checkpoint also has the layout that
a run on GPUs reads.
"""

import inspect
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import torch

from megatron_lrps.training.megatron.patching import set_meanwhile


class FusedAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) or AdamW (arXiv 1711.05101), parameter by parameter.

    State: ``exp_avg`` and ``exp_avg_sq`` per parameter, in its shape and type; ``step`` per group, an
    ``int`` counted from 1, absent before the first step.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        bias_correction: Whether to divide the moments by 1 - beta^step.
        betas: Decay rates of the two moments.
        eps: Added to the square root of the second moment.
        adam_w_mode: Decouple weight decay from the gradient (AdamW) or add it to the gradient (Adam).
        weight_decay: Its factor.
        capturable: For CUDA graphs.

    Raises:
        ValueError: ``capturable`` is set.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
        capturable: bool = False,
    ) -> None:
        if capturable:
            raise ValueError("--optimizer-cuda-graph needs a GPU; leave it out on the CPU backend")
        defaults = {
            "lr": lr,
            "bias_correction": bias_correction,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        self.adam_w_mode = adam_w_mode

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update every parameter that has a gradient; return what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # The fused ones count no steps for an empty group; a rank's shard of one may be empty.
            if group["params"]:
                group["step"] = group.get("step", 0) + 1
                self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        correction1 = correction2 = 1.0
        if group["bias_correction"]:
            correction1 = 1.0 - beta1 ** group["step"]
            correction2 = 1.0 - beta2 ** group["step"]
        for param in group["params"]:
            if param.grad is None:
                continue
            grad = param.grad
            state = self.state[param]
            if not state:
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
            if decay and self.adam_w_mode:
                param.mul_(1.0 - lr * decay)
            elif decay:
                grad = grad.add(param, alpha=decay)
            state["exp_avg"].lerp_(grad, 1.0 - beta1)
            state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
            scale = state["exp_avg_sq"].sqrt().div_(math.sqrt(correction2)).add_(group["eps"])
            param.addcdiv_(state["exp_avg"], scale, value=-lr / correction1)


# torch keeps these from being compiled by a wrapper that imports its compiler, 1.3 seconds, when called.
for _name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
    setattr(FusedAdam, _name, inspect.unwrap(getattr(torch.optim.Optimizer, _name)))


def offered_as_apex() -> AbstractContextManager[None]:
    """Offer the optimizers as ``apex.optimizers``, for the import of Megatron's own.

    Only that submodule is there, and only inside the context: ``import apex`` goes on failing, or
    Megatron's layer specs would choose apex's LayerNorm.
    """
    module = ModuleType("apex.optimizers")
    vars(module).update(FusedAdam=FusedAdam, FusedSGD=torch.optim.SGD)
    return set_meanwhile(sys.modules, module.__name__, module)
