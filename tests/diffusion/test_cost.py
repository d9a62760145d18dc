import pytest
import torch

from vox2pix.compute import count_flops
from vox2pix.diffusion import Architecture, ModelCost
from vox2pix.errors import UserError
from vox2pix.targets.c import TextConditioning
from vox2pix.targets.z import ImageLatent


def cost_of(name: str) -> ModelCost:
    return ModelCost(Architecture.from_pretrained(name, local_files_only=True))


def test_stable_diffusion_is_counted_before_its_weights_are_there():
    cost = cost_of("CompVis/stable-diffusion-v1-4")
    assert cost.image_size == 512
    # published: 859.5 M (U-Net) + 83.7 M (autoencoder) + 123.1 M (text encoder)
    assert cost.n_parameters == pytest.approx(1066.2e6, rel=1e-3)


def test_a_target_costs_what_its_network_costs():
    cost = cost_of("phantom")
    assert ImageLatent().flops(cost) == cost.encode_flops
    # convolutions grow with the area, attention with its square
    quarter = ImageLatent(image_size=cost.image_size // 2).flops(cost)
    assert cost.encode_flops / 16 < quarter <= cost.encode_flops / 4
    assert TextConditioning().flops(cost) == 5 * cost.embed_flops > 0


def test_operations_of_a_convolution_are_counted_as_multiply_and_add():
    layer = torch.nn.Conv2d(3, 5, 3, padding=1, device="meta")
    image = torch.zeros(1, 3, 16, 16, device="meta")
    assert count_flops(layer, image) == 2 * 5 * 3 * 9 * 16 * 16


def test_a_model_of_no_known_family_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="somebody/other-model"):
        cost_of("somebody/other-model")
