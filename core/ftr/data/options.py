"""The options of a dataset given as files or as a hub id: a pydantic model per row schema."""

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ftr.data.schema import RowSchema

Format = Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "squad", "text"]
Quoting = Literal["auto", "standard", "lenient", "none"]


class FileOptions(BaseModel):
    """What can be said about files, whatever the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str | None = Field(None, description="file of the train split, instead of the one found")
    validation: str | None = Field(None, description="file of the validation split; `none` leaves it out")
    test: str | None = Field(None, description="file of the test split; `none` leaves it out")
    labels_file: str | None = Field(None, description="file with one label a line, for a text file with one text a line")
    format: Format = Field("auto", description="format of the files; auto goes by the name and the content")
    encoding: str = Field("utf-8", description="encoding of text files, by its Python name; a byte order mark is taken off")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="cell delimiter of CSV files; guessed if not given")
    quoting: Quoting = Field(
        "auto", description="how CSV cells are quoted: none takes quotes as text, lenient allows quotes inside cells that are not doubled"
    )
    header: Literal["auto"] | bool = Field("auto", description="whether the first row of a CSV file names the columns")
    id: str | int | None = Field(None, description="column of the row ids, by name or 0-based number; `none` numbers the rows")


class HubOptions(BaseModel):
    """What can be said about a dataset on the hub, whatever the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str | None = Field(None, description="configuration of the dataset, if it has several")
    revision: str | None = Field(None, description="commit, tag or branch of the dataset")
    train: str | None = Field(None, description="name on the hub of the split to train on")
    validation: str | None = Field(None, description="name on the hub of the validation split")
    test: str | None = Field(None, description="name on the hub of the test split")
    id: str | int | None = Field(None, description="column of the row ids; `none` numbers the rows")


@cache
def file_options(schema: RowSchema) -> type[FileOptions]:
    """Return the options of files read for `schema`: `FileOptions` and one option per column."""
    return create_model("FileOptions", __base__=FileOptions, **_columns(schema))


@cache
def hub_options(schema: RowSchema) -> type[HubOptions]:
    """Return the options of a hub dataset read for `schema`: `HubOptions` and one option per column."""
    return create_model("HubOptions", __base__=HubOptions, **_columns(schema))


def column_choices(options: BaseModel, schema: RowSchema) -> dict[str, str | int]:
    """Return the columns that were named by option: canonical name -> the file's name or 0-based number."""
    names = ["id", *_columns(schema)]
    given = {name: getattr(options, name, None) for name in names}
    return {name: choice for name, choice in given.items() if choice is not None}


def _columns(schema: RowSchema) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column in schema.columns:
        fields[column.name] = _choice(f"column of the file that holds `{column.name}`, by name or 0-based number")
        if column.type == "answers":
            fields["answer_start"] = _choice("column that holds the offset of the answer in characters")
    return fields


def _choice(description: str) -> tuple[object, object]:
    return str | int | None, Field(None, description=description)
