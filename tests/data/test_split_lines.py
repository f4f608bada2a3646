"""Lines of texts that are longer than a part."""

import io
from itertools import product

import pytest

from ftr.data import files
from ftr.data.files import split_lines


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_lines_do_not_depend_on_the_size_of_the_parts(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK", size)
    short = ("".join(text) for length in range(1, 7) for text in product("a\r\n", repeat=length))
    for text in ("a\r\nbb\rc\n\n\r\r\n\x85ü\r", *short):
        for universal in (True, False):
            whole = io.StringIO(text, newline="" if universal else "\n").readlines()
            assert list(split_lines([text], universal=universal)) == whole
