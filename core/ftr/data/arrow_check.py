"""Arrow data of untrusted files: checked before its values are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def validate(data: pa.Table | pa.RecordBatch) -> None:
    """Raise `ArrowInvalid` for a column whose lengths or offsets lead out of its memory.

    Arrow files are not checked when they are opened: such values would be those of foreign memory,
    or end the process. Text that is not UTF-8 is left to the check of each row.
    """
    for column in data.columns:
        for array in getattr(column, "chunks", [column]):
            array.validate()
            try:
                array.validate(full=True)
            except ValueError as error:
                if "UTF8" not in str(error):
                    raise
                array.view(_as_bytes(array.type)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return a type with bytes in the place of text, and the same memory."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_string(kind):
        return pa.binary()
    if types.is_large_string(kind):
        return pa.large_binary()
    if str(kind) == "string_view":
        return pa.binary_view()
    if types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_as_bytes(kind.value_type), kind.list_size)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type))
    return kind
