"""The layout of ranks that Megatron loads an export with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from megatron_lrps.convert.hybrid_arguments import mamba_of
from megatron_lrps.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sizes of Megatron's parallel groups.

    Attributes:
        tensor: That of tensor parallelism.
        pipeline: That of pipeline parallelism.
        expert: That of expert parallelism: the ranks that share the experts among them.
        expert_tensor: That of tensor parallelism within an expert; as ``tensor`` by default.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int | None = None

    @property
    def split(self) -> int:
        """The number of ranks that an expert is split over."""
        return self.expert_tensor or self.tensor

    @property
    def ranks(self) -> int:
        """The smallest number of ranks that the layout has."""
        return self.pipeline * math.lcm(self.tensor, self.split * self.expert)

    @property
    def name(self) -> str:
        """The layout in the name of a folder."""
        experts = f"-ep{self.expert}" if self.expert > 1 else ""
        return f"tp{self.tensor}-pp{self.pipeline}{experts}{f'-etp{self.split}' if self.split != self.tensor else ''}"

    @property
    def record(self) -> dict[str, int]:
        """The layout in the record of an export."""
        record = {"tensor_parallel": self.tensor, "pipeline_parallel": self.pipeline}
        if self.expert > 1 or self.split != self.tensor:
            record |= {"expert_parallel": self.expert, "expert_tensor_parallel": self.split}
        return record

    @property
    def args(self) -> dict[str, int]:
        """Megatron's arguments of the layout, by destination."""
        return {
            "tensor_model_parallel_size": self.tensor,
            "pipeline_model_parallel_size": self.pipeline,
            "expert_model_parallel_size": self.expert,
            "expert_tensor_parallel_size": self.split,
            "world_size": self.ranks,
            "data_parallel_size": self.ranks // (self.tensor * self.pipeline),
        }

    def refuse_for(self, args: Mapping[str, Any]) -> None:
        """Refuse the layout for a model that it does not divide, by the model's arguments; raises RefusedError."""
        groups = args.get("num_query_groups") if args.get("group_query_attention") else None
        if not args.get("num_experts") and (self.expert > 1 or self.split != self.tensor):
            flag, size = (
                ("--expert-parallel", self.expert) if self.expert > 1 else ("--expert-tensor-parallel", self.split)
            )
            raise RefusedError(f"{flag} is {size}, but the model has no experts.", "leave it out.")
        for flag, size, name in (
            ("--pipeline-parallel", self.pipeline, "num_layers"),
            ("--tensor-parallel", self.tensor, "num_attention_heads"),
            ("--tensor-parallel", self.tensor, "hidden_size"),
            ("--tensor-parallel", self.tensor, "ffn_hidden_size"),
            ("--expert-parallel", self.expert, "num_experts"),
            ("--expert-tensor-parallel", self.split, "moe_ffn_hidden_size"),
        ):
            if (args.get(name) or 0) % size:
                raise RefusedError(
                    f"{flag} {size} does not divide {name} {args[name]}.", f"give a divisor of {args[name]}."
                )
        mamba = mamba_of(args)
        for name, size in (("mamba_num_heads", mamba.heads), ("mamba_num_groups", mamba.groups)) if mamba else ():
            if size % self.tensor:
                raise RefusedError(
                    f"--tensor-parallel {self.tensor} does not divide {name} {size}.", f"give a divisor of {size}."
                )
        if groups and groups % self.tensor and self.tensor % groups:
            raise RefusedError(
                f"--tensor-parallel {self.tensor} neither divides num_query_groups {groups} nor is a multiple of it.",
                "give a divisor or a multiple of it.",
            )
