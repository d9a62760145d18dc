"""Sizes of batches, the retreat when memory runs out, and how often networks are asked."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vox2pix.diffusion import batches
from vox2pix.diffusion.batches import Batches, free_memory, is_out_of_memory, peak_activations
from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.diffusion.probe import Probe
from vox2pix.errors import UserError

CPU = torch.device("cpu")
MEGABYTE = 2**20


@pytest.fixture
def fresh(components) -> LatentDiffusion:
    """Return a model that knows nothing of earlier batches."""
    return LatentDiffusion.from_components(**vars(components), device="cpu")


@pytest.fixture
def inputs(rng) -> SimpleNamespace:
    return SimpleNamespace(
        z=rng.standard_normal((6, 4, 8, 8)).astype(np.float32),
        c=rng.standard_normal((6, 12, 16)).astype(np.float32),
        seeds=np.arange(6) + 50,
    )


def counted(monkeypatch, network) -> list[int]:
    """Note the rows of every call of a network."""
    rows: list[int] = []
    forward = network.forward

    def noting(first, *args, **kwargs):
        rows.append(len(first))
        return forward(first, *args, **kwargs)

    monkeypatch.setattr(network, "forward", noting)
    return rows


def short_of_memory(monkeypatch, network, most: int, error=torch.OutOfMemoryError) -> list[int]:
    """Let a network fail for want of memory above a number of rows."""
    rows: list[int] = []
    forward = network.forward

    def failing(first, *args, **kwargs):
        rows.append(len(first))
        if len(first) > most:
            raise error("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(first, *args, **kwargs)

    monkeypatch.setattr(network, "forward", failing)
    return rows


def test_guidance_is_one_batch_and_the_empty_prompt_is_read_once(
    fresh, components, inputs, monkeypatch
):
    passes = counted(monkeypatch, components.unet)
    texts = counted(monkeypatch, components.text_encoder)
    for _ in range(2):
        fresh.denoise(
            {"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, strength=0.8, batch_size=4
        )
    assert passes == ([8] * 4 + [4] * 4) * 2
    assert texts == [1]


@pytest.mark.parametrize(
    ("guidance", "ports", "rows"), [(1.0, "text", 3), (5.0, "text", 6), (5.0, "none", 3)]
)
def test_only_guided_rows_cost_twice(fresh, components, inputs, monkeypatch, guidance, ports, rows):
    passes = counted(monkeypatch, components.unet)
    given = {"start": inputs.z[:3]} | ({"text": inputs.c[:3]} if ports == "text" else {})
    fresh.denoise(given, [1, 2, 3], steps=4, strength=0.5, guidance=guidance, batch_size=3)
    assert passes == [rows] * 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_the_work_goes_on_in_halves_where_memory_runs_out(
    fresh, components, inputs, monkeypatch, error
):
    expected = fresh.denoise(
        {"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, batch_size=6, eta=0.5
    )
    rows = short_of_memory(monkeypatch, components.unet, most=4, error=error)
    message = r"6 rows at once to denoise; continuing with 1 "
    with pytest.warns(RuntimeWarning, match=message) as warned:
        denoised = fresh.denoise(
            {"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, batch_size=6, eta=0.5
        )
    assert len(warned) == 1
    assert rows[:3] == [12, 6, 2]
    np.testing.assert_allclose(denoised, expected, atol=1e-4)


def test_what_fitted_is_remembered_and_said_once(fresh, components, inputs, monkeypatch):
    rows = short_of_memory(monkeypatch, components.vae.decoder, most=2)
    with pytest.warns(RuntimeWarning, match=r"4 rows at once to decode; continuing with 2 "):
        fresh.decode_latents(inputs.z, batch_size=4)
    assert rows == [4, 2, 2, 2]
    rows.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.decode_latents(inputs.z, batch_size=4)
        fresh.encode_images(np.zeros((4, 16, 16, 3)), batch_size=4)
    assert rows == [2, 2, 2]


def test_one_row_too_many_ends_the_work(fresh, components, inputs, monkeypatch):
    short_of_memory(monkeypatch, components.unet, most=1)
    with pytest.raises(UserError, match="Memory does not suffice to denoise one row"):
        fresh.denoise({"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, batch_size=2)


def test_other_faults_are_no_want_of_memory(fresh, components, inputs, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(components.unet, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fresh.denoise({"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, batch_size=2)


def test_recorded_steps_do_not_come_twice(fresh, components, inputs, monkeypatch):
    """Memory runs out at the first step, before anybody was told, or the work ends."""
    short_of_memory(monkeypatch, components.unet, most=8)
    steps = []
    probe = Probe(("mid_block",), (1,), lambda step, *told: steps.append(step))
    with pytest.warns(RuntimeWarning):
        fresh.denoise(
            {"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=5, batch_size=6, probe=probe
        )
    assert steps == [1, 1]

    def fail_late(step, timestep, z):
        if step == 2:
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(UserError, match=r"recorded; set a smaller compute\.batch_size"):
        fresh.denoise({"start": inputs.z}, inputs.seeds, steps=5, batch_size=2, callback=fail_late)


def test_peak_memory_counts_what_is_alive_together():
    """4 KB in; 8 KB, then 16 KB beside it, then 4 KB when the 8 KB are gone."""
    layers = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 40), nn.Linear(40, 10))
    rows = torch.zeros(100, 10)
    with torch.no_grad():
        peak = peak_activations(lambda: layers(rows))
    # the widest pair of neighbours is alive at once; weights and inputs are not counted
    assert peak == 4 * 100 * (20 + 40)


def test_peak_memory_grows_with_the_rows(components):
    def passed(n: int) -> int:
        z = torch.zeros(n, 4, 8, 8)
        return peak_activations(lambda: components.vae.decode(z))

    assert passed(8) == 8 * passed(1) > 0


def suggested(monkeypatch, bytes_a_row: int, free: int, device: torch.device) -> int:
    monkeypatch.setattr(batches, "peak_activations", lambda work: bytes_a_row)
    monkeypatch.setattr(batches, "free_memory", lambda device: free)
    return Batches(device).size("some work", lambda: None)


@pytest.mark.parametrize(
    ("bytes_a_row", "free", "cpu", "cuda"),
    [
        (MEGABYTE, 10**12, 16, 64),  # the cache's share on a CPU, the most there is on a GPU
        (MEGABYTE, 10 * MEGABYTE, 4, 4),  # 7 fit
        (500 * MEGABYTE, 10**10, 1, 8),  # 13 fit
        (10**12, 10**9, 1, 1),  # nothing fits: one is tried
        (1, 10**9, 64, 64),
    ],
)
def test_batches_suit_cache_and_memory(monkeypatch, bytes_a_row, free, cpu, cuda):
    assert suggested(monkeypatch, bytes_a_row, free, CPU) == cpu
    assert suggested(monkeypatch, bytes_a_row, free, torch.device("cuda")) == cuda


def test_free_memory_of_a_gpu_includes_torchs_own_reserve(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_memory(torch.device("cuda")) == 130
    assert free_memory(CPU) > 10**6


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of range"), False),
    ],
)
def test_want_of_memory_is_told_from_other_faults(error, is_it):
    assert is_out_of_memory(error) == is_it


def test_the_suggested_size_is_used_and_found_once(fresh, components, inputs, monkeypatch):
    monkeypatch.setattr(batches, "CACHE_BYTES", 250_000)
    size = fresh.batch_size()
    assert size == 2
    assert fresh.batch_size(guidance=1.0) == 4
    rows = counted(monkeypatch, components.unet)
    fresh.denoise({"start": inputs.z, "text": inputs.c}, inputs.seeds, steps=2, strength=0.5)
    assert rows == [4, 4, 4]
