import pytest
import torch

from vox2pix.compute import resolve_device, resolve_dtype, sgemm_rate
from vox2pix.errors import UserError


def test_a_device_that_is_here_is_found():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu7", "'gpu7' is not a device; use auto, cpu, cuda"),
        ("cuda:99", "The device 'cuda:99' is not here"),
    ],
)
def test_a_device_that_is_not_is_named(name, sentence):
    with pytest.raises(UserError, match=sentence):
        resolve_device(name)


def test_number_types_go_by_torchs_names():
    assert resolve_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(UserError, match="'float8' is not a number type; use one of float32"):
        resolve_dtype("float8")


def test_a_rate_is_operations_over_time(monkeypatch):
    ticks = iter([0.0, 2.0, 2.0, 3.0, 3.0, 7.0])
    monkeypatch.setattr("vox2pix.compute.time.perf_counter", lambda: next(ticks))
    assert sgemm_rate("cpu", size=10) == 2 * 10**3 / 1.0
