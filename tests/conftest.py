"""What all tests share: the optional folder of real data, and single-threaded torch."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(
            "the real data and weights (a folder `shared` beside the checkout) are not here"
        )
    return folder
