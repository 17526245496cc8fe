"""``sources`` of a version: the raw text that `lrps prepare` makes an index of."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from megatron_lrps.plan.base import FilePath, FilePattern, PlanModel

Format = Literal["jsonl", "parquet", "text", "dataset"]


class Source(PlanModel):
    """The text behind one index prefix; in the plan also just a file, or a list of them.

    ``files`` are files, folders and globs. ``field`` names the text of a JSON object or the column of a table;
    ``documents`` says what one is in plain text. More unreadable documents than ``max_unreadable``, a share of all, are
    refused.
    """

    files: tuple[FilePattern, ...] = Field(min_length=1)
    format: Format | None = None
    field: Annotated[str, Field(min_length=1)] = "text"
    documents: Literal["file", "line", "paragraph"] | None = None
    max_unreadable: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01

    @model_validator(mode="before")
    @classmethod
    def _files_alone(cls, value: Any) -> Any:
        return {"files": value} if isinstance(value, str | list | tuple) else value

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fitting(self) -> "Source":
        if self.documents is not None and self.format not in (None, "text"):
            raise ValueError(f"documents is given, but the format {self.format} has none; remove it")
        if "field" in self.model_fields_set and self.format == "text":
            raise ValueError("field is given, but plain text has none; remove it")
        return self


Sources = dict[FilePath, Source]
"""Index prefix, as ``train`` or ``valid`` name it -> its text."""
