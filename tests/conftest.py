"""What tests of several rooms share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def miyawaki_dir() -> Path:
    """Folder of the real V1 responses of Miyawaki et al. (2008); skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = (root / "../shared/data/miyawaki2008_v1_figures").resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    return folder
