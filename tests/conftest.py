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


@pytest.fixture(params=["cpu", "cuda"])
def torch_device(request) -> str:
    """Name where torch computes: on every machine the CPU, and a CUDA device where there is one."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return str(request.param)


@pytest.fixture(scope="session")
def _s3_server():
    pytest.importorskip("moto", reason="the S3 server of the tests is not installed")
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    from buckets.server import Server

    server = Server()
    yield server
    server.stop()


@pytest.fixture
def s3(_s3_server, tmp_path, monkeypatch):
    """A real S3 server with a counting, failing proxy before it; copies lie in a new folder."""
    # requests are repeated as often as ever, without the pauses between them
    backoff = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(backoff, lambda self, context: 0.01)
    for name in ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3_server.proxy.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "copies"))
    _s3_server.proxy.reset()
    yield _s3_server
    _s3_server.proxy.reset()
