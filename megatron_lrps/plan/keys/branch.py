"""``branch`` of the plan: the data that a branch of the paradigm lrps reads while it decays."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    SerializationInfo,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from megatron_lrps.plan.file_paths import base_of, read_path, within, write_path
from megatron_lrps.plan.keys.base import Count, PlanModel
from megatron_lrps.plan.keys.flag_values import FLAG_NAMES, Flags
from megatron_lrps.plan.keys.raw_text import Sources
from megatron_lrps.plan.keys.values import PLAIN_NAME

BranchOrder = Literal["window", "mixed"]


def _read(value: Any, info: ValidationInfo) -> Path | str:
    """Read a plain name as a version's, and anything else as an index prefix."""
    return value if isinstance(value, str) and PLAIN_NAME.match(value) else read_path(value, info)


def _write(value: Path | str, info: SerializationInfo) -> str:
    """Return the text that ``_read`` reads back."""
    text = write_path(value, info) if isinstance(value, Path) else value
    return f"./{text}" if isinstance(value, Path) and PLAIN_NAME.match(text) else text


BlendPart = Annotated[
    Path | str,
    BeforeValidator(_read),
    PlainSerializer(_write, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""An index prefix, absolute; or the name of a version, which stands for the indexes of its window."""
Blend = tuple[tuple[Annotated[float, Field(gt=0.0)], BlendPart], ...]


def _kind_of_data(value: Any) -> str:
    return "order" if isinstance(value, str) else "blend"


def _any_of(schema: dict[str, Any]) -> None:
    schema["anyOf"] = schema.pop("oneOf")


class BranchSettings(PlanModel):
    """``branch``: what a branch reads while it decays. Main, PTFS, CPT and listed paths read what they always do."""

    data: Annotated[
        Annotated[BranchOrder, Tag("order")] | Annotated[Blend, Field(min_length=1), Tag("blend")],
        Discriminator(_kind_of_data),
        Field(json_schema_extra=_any_of),
    ] = "window"
    """`window` reads on in the version's window, as main does. `mixed` shuffles all windows so far, as PTFS does. A
    list of [weight, index prefix] pairs is a blend: the branch draws all its samples from these indexes by weight, and
    they may be train data of windows too. A name without a slash is a version's, and stands for the data of its window;
    write `./NAME` for an index beside the plan."""
    soup: Annotated[int, Field(ge=1)] = 1
    """The number of branches that are trained for a version. They read the same samples, each in another order, and the
    version is the mean of their ends. Each costs as much as a single branch."""
    sources: Sources = Field(default_factory=dict)
    """The raw text from which `lrps prepare` makes an index of the blend, as in `versions[].sources`."""

    sequence_length: Count | None = None
    """The number of tokens in a sample of the branch, for a branch of long texts. It goes with a blend, and with a
    model whose positions are rotary (RoPE) or none. An iteration still has `global_batch_size` samples. By default it
    is the campaign's."""
    megatron: Flags = Field(default_factory=dict, json_schema_extra=FLAG_NAMES)
    """The flags that go with another `sequence_length`, put over the campaign's: those of RoPE, such as `rotary-base`,
    and those that may differ anyway, such as `context-parallel-size` or `micro-batch-size`."""

    @field_validator("data", mode="before")
    @classmethod
    def _order_or_blend(cls, value: Any) -> Any:
        if value not in get_args(BranchOrder) and not isinstance(value, list | tuple):
            raise ValueError("is neither window nor mixed; give one of them, or a list of [weight, index prefix] pairs")
        return value

    @model_validator(mode="after")
    def _sources_of_indexes(self, info: ValidationInfo) -> "BranchSettings":
        indexes = set() if isinstance(self.data, str) else {part for _, part in self.data}
        for prefix in self.sources:
            if prefix not in indexes:
                shown = within(prefix, base_of(info))
                raise ValueError(f"sources.{shown} is not an index of this branch; name it under data too")
        return self

    def with_own(self, own: "BranchSettings | None") -> "BranchSettings":
        """Return these settings with what a version says itself put over them."""
        return self.model_copy(update={key: getattr(own, key) for key in own.model_fields_set} if own else {})
