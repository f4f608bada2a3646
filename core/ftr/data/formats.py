"""One file to one table, by its format."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ftr.data.arrow_tables import read_arrow, read_parquet, read_saved
from ftr.data.columns import ID
from ftr.data.conll import WAY_OUT, looks_conll, read_conll, reads_tokens
from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.folders import read_classes
from ftr.data.json_tables import read_json, read_jsonl
from ftr.data.options import SUFFIXES, FileOptions, Format, column_choices
from ftr.data.rows import PREDICT, SourceFile, Table
from ftr.data.schema import RowSchema
from ftr.data.squad import unnested
from ftr.data.tables import guess_delimiter, read_delimited
from ftr.data.text_labels import labelled_text
from ftr.errors import DataError


def read_source(
    paths: Sequence[Path], classes: Sequence[str], split: str, options: FileOptions, schema: RowSchema
) -> Iterator[tuple[Path, Table, list[SourceFile]]]:
    """Yield each file of a split, or its classes together, as a table, with the record of each file that was read for it."""
    if classes:
        yield paths[0], *read_classes(classes, paths, split, options, schema)
        return
    for path in paths:
        yield path, *(read_saved(path) if path.is_dir() else read_table(path, split, options, schema))


def read_table(path: Path, split: str, options: FileOptions, schema: RowSchema) -> tuple[Table, list[SourceFile]]:
    """Return the file's table and the record of each file that was read for it. Raises `DataError`."""
    content, source, inner = read_bytes(path)
    form = options.format if options.format != "auto" else format_of(path, inner)
    if form in ("parquet", "arrow"):
        return unnested((read_parquet if form == "parquet" else read_arrow)(content, path), split), [source]
    text = decode(content, path, options.encoding, by_row=split == PREDICT)
    if form == "text" and options.format == "auto" and options.labels_file in (None, "none") and _has_header(text, schema):
        form = "csv"
    if form == "text" and not (reads_tokens(schema) and looks_conll(text)):
        table, more = labelled_text(text, path, split, options, schema)
        return table, [source, *more]
    table = parse(text, path.name, split, options, schema, "conll" if form == "text" else form)
    if not table.records and not table.rejected:
        raise DataError(f"file `{path}` holds no rows")
    return table, [source]


def parse(text: str, name: str, split: str, options: FileOptions, schema: RowSchema, form: Format) -> Table:
    """Return the table in `text`, which is of the textual format `form`."""
    if form in ("json", "squad"):
        return read_json(text, name, split)
    if form == "jsonl":
        return read_jsonl(text, name, split)
    if form == "tsv" and looks_conll(text):
        raise DataError(f"file `{name}` has {WAY_OUT}" + (": give `dataset.format=conll`" if reads_tokens(schema) else ""))
    if form == "conll":
        return read_conll(text, name, split, options, schema)
    return read_delimited(text, name, split, options, known_names(schema, options), tabs=form == "tsv")


def format_of(path: Path, inner: str = "") -> Format:
    """Return the format that the name tells, or that of the file packed in it. Raises `DataError` when it tells none."""
    for name in (inner, path.name):
        suffix = Path(bare_name(Path(name))).suffix
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
    raise DataError(
        f"file `{path}`: the ending `{suffix}` tells no format. Known endings: {', '.join(SUFFIXES)} (each also packed with .gz, .bz2, .xz "
        "or .zip); or give `dataset.format=csv` (tsv, json, jsonl, parquet, arrow, squad, text, conll)"
    )


def _has_header(text: str, schema: RowSchema) -> bool:
    """Whether a text file is a table: its first line names the text, and another column."""
    top = text.split("\n", 1)[0]
    cells = {cell.strip().strip('"').lower() for cell in top.split(guess_delimiter(text))}
    names = [{name.lower() for name in (column.name, *column.aliases)} for column in (*schema.columns, ID)]
    needed = [known for known, column in zip(names, schema.columns, strict=False) if column.required and not column.target]
    return sum(bool(known & cells) for known in names) > 1 and all(known & cells for known in needed)


def known_names(schema: RowSchema, options: FileOptions) -> frozenset[str]:
    """Return the names, in lower case, that a header row for this schema may hold."""
    names = {name for column in schema.columns for name in (column.name, *column.aliases)}
    names |= {str(choice) for choice in column_choices(options, schema).values() if isinstance(choice, str) and not choice.isdigit()}
    return frozenset(name.lower() for name in names)
