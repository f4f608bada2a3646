"""The example packages as wheels in a Python of their own."""

import pytest

from wheels import Place, place_with_wheels


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A Python with the wheels of all examples, and a folder to work in."""
    return place_with_wheels(tmp_path_factory.mktemp("examples"))
