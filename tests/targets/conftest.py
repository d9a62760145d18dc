"""The phantom's model, loaded once for all tests of targets."""

import pytest

from vox2pix.diffusion import LatentDiffusion


@pytest.fixture(scope="session")
def model() -> LatentDiffusion:
    return LatentDiffusion.from_pretrained("phantom", device="cpu")
