"""One file to one table, by its format."""

from pathlib import Path

from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.json_tables import read_json, read_jsonl
from ftr.data.options import FileOptions, Format, column_choices
from ftr.data.rows import SourceFile, Table
from ftr.data.schema import RowSchema
from ftr.data.squad import unnested
from ftr.data.tables import read_delimited
from ftr.data.text_labels import labelled_text
from ftr.errors import DataError

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}


def read_table(path: Path, split: str, options: FileOptions, schema: RowSchema) -> tuple[Table, list[SourceFile]]:
    """Return the file's table and the record of each file that was read for it. Raises `DataError`."""
    form = options.format if options.format != "auto" else format_of(path)
    content, source = read_bytes(path)
    if form == "parquet":
        return unnested(_parquet(content, path), split), [source]
    text = decode(content, path, options.encoding)
    if form == "text":
        table, more = labelled_text(text, path, options, schema)
        return table, [source, *more]
    table = parse(text, path.name, split, options, schema, form)
    if not table.records and not table.rejected:
        raise DataError(f"file `{path}` holds no rows")
    return table, [source]


def parse(text: str, name: str, split: str, options: FileOptions, schema: RowSchema, form: Format) -> Table:
    """Return the table in `text`, which is of the textual format `form`."""
    if form in ("json", "squad"):
        return read_json(text, name, split)
    if form == "jsonl":
        return read_jsonl(text, name, split)
    return read_delimited(text, name, split, options, known_names(schema, options), tabs=form == "tsv")


def format_of(path: Path) -> Format:
    """Return the format that the name tells. Raises `DataError` when it tells none."""
    suffix = Path(bare_name(path)).suffix
    if suffix not in SUFFIXES:
        raise DataError(
            f"file `{path}`: the ending `{suffix}` tells no format. Known endings: {', '.join(SUFFIXES)} (each also with .gz); "
            "or give `dataset.format=csv` (tsv, json, jsonl, parquet, squad, text)"
        )
    return SUFFIXES[suffix]


def known_names(schema: RowSchema, options: FileOptions) -> frozenset[str]:
    """Return the names, in lower case, that a header row for this schema may hold."""
    names = {name for column in schema.columns for name in (column.name, *column.aliases)}
    names |= {str(choice) for choice in column_choices(options, schema).values() if isinstance(choice, str) and not choice.isdigit()}
    return frozenset(name.lower() for name in names)


def _parquet(content: bytes, path: Path) -> Table:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    try:
        read = parquet.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"file `{path}` is no readable Parquet file: {str(error).splitlines()[0]}") from None
    if not read.num_rows:
        raise DataError(f"file `{path}` holds no rows")
    columns = [column.to_pylist() for column in read.columns]
    records = [list(cells) for cells in zip(*columns, strict=True)]
    return Table(list(read.column_names), records, [f"{path.name}:{index + 1}" for index in range(read.num_rows)])
