"""The options of a dataset given as files or as a hub id: a pydantic model per row schema."""

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from ftr.data.schema import RowSchema

Format = Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "squad", "text", "conll"]
LabelFrom = Literal["auto", "column", "folder", "file"]
Quoting = Literal["auto", "standard", "lenient", "none"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".label": "text",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conll",
}
PACKED = (".gz", ".bz2", ".xz", ".zip")
EXCEL = (".xlsx", ".xls", ".xlsm", ".ods")


class FileOptions(BaseModel):
    """What can be said about files, whatever the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str | None = Field(None, description="file of the train split, instead of the one found")
    validation: str | None = Field(None, description="file of the validation split; `none` leaves it out")
    test: str | None = Field(None, description="file of the test split; `none` leaves it out")
    labels_file: str | None = Field(None, description="file with one label a line, for a text file with one text a line")
    label_from: LabelFrom = Field(
        "auto", description="whether each folder, or each file, of a folder holds the texts of one class, by its name; column: neither"
    )
    format: Format = Field("auto", description="format of the files; auto goes by the name and the content")
    encoding: str = Field("utf-8", description="encoding of text files, by its Python name; a byte order mark is taken off")
    delimiter: str | None = Field(
        None,
        description="cell delimiter of CSV files, and between text and label of text files: one character, `tab` or `space`; else guessed",
    )
    quoting: Quoting = Field(
        "auto", description="how CSV cells are quoted: none takes quotes as text, lenient allows quotes inside cells that are not doubled"
    )
    header: Literal["auto"] | bool = Field("auto", description="whether the first row of a CSV file names the columns")
    id: str | int | None = Field(None, description="column of the row ids, by name or 0-based number; `none` numbers the rows")

    @field_validator("delimiter", mode="before")
    @classmethod
    def _one_character(cls, value: object) -> object:
        """Return the character that a word stands for: the shell and YAML lose a blank or a tab."""
        found = {"tab": "\t", "\\t": "\t", "space": " ", "blank": " "}.get(value, value) if isinstance(value, str) else value
        if found is not None and (not isinstance(found, str) or len(found) != 1 or found in '\r\n"'):
            raise ValueError("give one character, `tab` or `space`")
        return found


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
