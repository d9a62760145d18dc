import pytest
import torch

from vox2pix.diffusion import LatentDiffusion
from vox2pix.diffusion.cost import model_cost
from vox2pix.errors import UserError


def test_stable_diffusion_is_sized_before_its_weights_are_there():
    cost = model_cost("CompVis/stable-diffusion-v1-4", z_image_size=320)
    assert cost.z_shape == (4, 40, 40)
    assert cost.c_shape == (77, 768)
    assert cost.image_size == 512
    # published: 859.5 M (U-Net) + 83.7 M (autoencoder) + 123.1 M (text encoder)
    assert cost.n_parameters == pytest.approx(1066.2e6, rel=1e-3)


def test_the_phantoms_cost_is_counted_on_the_phantom_itself():
    cost = model_cost("phantom")
    model = LatentDiffusion.from_pretrained("phantom", device="cpu")
    assert cost.z_shape == model.latent_shape
    assert cost.c_shape == model.conditioning_shape
    assert cost.image_size == model.image_size
    assert cost.z_flops == cost.encode_flops


def test_operations_of_a_convolution_are_counted_as_multiply_and_add():
    from vox2pix.diffusion.cost import _count

    layer = torch.nn.Conv2d(3, 5, 3, padding=1, device="meta")
    image = torch.zeros(1, 3, 16, 16, device="meta")
    assert _count(layer, image) == 2 * 5 * 3 * 9 * 16 * 16


def test_a_model_of_no_known_family_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="somebody/other-model"):
        model_cost("somebody/other-model")
