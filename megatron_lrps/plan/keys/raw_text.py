"""``sources`` of a version: the raw text from which `lrps prepare` makes an index."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from megatron_lrps.plan.keys.base import FilePath, FilePattern, PlanModel, or_shorter

Format = Literal["jsonl", "parquet", "text", "dataset"]
_FILE = {"type": "string", "format": "path"}


class Source(PlanModel):
    """The text behind one index prefix; in the plan also just a file, or a list of them."""

    model_config = ConfigDict(json_schema_extra=or_shorter(_FILE, {"type": "array", "items": _FILE, "minItems": 1}))

    files: tuple[FilePattern, ...] = Field(min_length=1, json_schema_extra=or_shorter(_FILE))
    """Files, folders and globs. They are read in the order of the list, and the files of each are sorted by name."""
    format: Format | None = None
    """The format of the files. By default the endings of their names decide it. `dataset` is a folder that
    `save_to_disk` of Hugging Face's datasets wrote."""
    field: Annotated[str, Field(min_length=1)] = "text"
    """The field of a JSON object, or the column of a table, that holds the text."""
    documents: Literal["file", "line", "paragraph"] | None = None
    """What makes one document in plain text. By default it is the whole file."""
    max_unreadable: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """The share of documents that may be unreadable. If there are more, the index is not made."""

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
