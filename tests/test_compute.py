import threading

import pytest
import torch

from vox2pix.compute import ahead, resolve_device, resolve_dtype, sgemm_rate
from vox2pix.errors import UserError


def test_a_device_that_is_here_is_found():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu7", "'gpu7' is not a device; use auto, cpu, cuda"),
        ("cuda:99", "There is no device 'cuda:99'"),
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


CPU = torch.device("cpu")


def test_items_made_ahead_come_in_order_and_no_more_than_one_ahead():
    made = []

    def make():
        for number in range(5):
            made.append(number)
            yield number

    used = []
    for number in ahead(make(), CPU):
        used.append(number)
        assert len(made) <= len(used) + 1
    assert used == list(range(5))
    assert list(ahead(iter(()), CPU)) == []


def test_the_next_item_is_made_while_one_is_used():
    begun = threading.Event()

    def make():
        yield 0
        begun.set()
        yield 1

    for number in ahead(make(), CPU):
        assert begun.wait(10), number


def test_what_goes_wrong_ahead_is_raised_where_the_item_would_have_come():
    def make():
        yield 0
        raise ZeroDivisionError

    items = ahead(make(), CPU)
    assert next(items) == 0
    with pytest.raises(ZeroDivisionError):
        next(items)
