"""Images drawn through an IP-Adapter, against diffusers' own pipelines with the same adapter."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from diffusion.conftest import narrow_stable_diffusion, save_adapter
from diffusion.test_latent_diffusion import as_pipeline, generators
from vox2pix.diffusion import Architecture, IPAdapter, LatentDiffusion, ModelCost, Tuning
from vox2pix.errors import UserError

WIDTH, SCALE = 24, 0.7
SEEDS = [11, 2**62 + 3]


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    return narrow_stable_diffusion()


@pytest.fixture(scope="module")
def adapter(parts, tmp_path_factory) -> IPAdapter:
    folder = tmp_path_factory.mktemp("adapter")
    return IPAdapter(save_adapter(parts.unet, WIDTH, folder / "ip-adapter.safetensors"), SCALE)


@pytest.fixture(scope="module")
def adapted(parts, adapter) -> LatentDiffusion:
    own = vars(copy.deepcopy(parts))
    return LatentDiffusion.from_components(**own, device="cpu", image=adapter)


@pytest.fixture(scope="module")
def inputs(adapted) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "start": rng.standard_normal((2, *adapted.latent_shape)).astype(np.float32),
        "text": rng.standard_normal((2, *adapted.conditioning_shape)).astype(np.float32),
        "image": rng.standard_normal((2, WIDTH)).astype(np.float32),
    }


def drawn_by_diffusers(kind, parts, adapter, model, ports, *, guidance, **settings):
    """Draw by a pipeline of diffusers that loads the adapter itself; return the latents.

    One row at a time: its pipelines take one image for all rows of a batch.
    """
    pipeline = as_pipeline(kind, copy.deepcopy(parts))
    file = adapter.file
    pipeline.load_ip_adapter(
        str(file.parent), "", file.name, image_encoder_folder=None, low_cpu_mem_usage=False
    )
    pipeline.set_ip_adapter_scale(adapter.scale)
    empty = torch.tensor(model.empty_prompt)[None]
    latents = []
    for row, seed in enumerate(SEEDS):
        of_row = {name: torch.from_numpy(values[[row]]) for name, values in ports.items()}
        start = {"image": of_row["start"]} if "start" in ports else {}
        image = of_row["image"][None]  # of one adapter: images, rows, width
        if guidance > 1:
            image = torch.cat([torch.zeros_like(image), image])
        drawn = pipeline(
            prompt_embeds=of_row.get("text", empty),
            negative_prompt_embeds=empty,
            ip_adapter_image_embeds=[image],
            guidance_scale=guidance,
            num_inference_steps=4,
            generator=generators([seed]),
            output_type="latent",
            **start,
            **settings,
        )
        latents.append(drawn.images.numpy()[0])
    return np.stack(latents)


@pytest.mark.parametrize(
    ("names", "guidance"),
    [
        (("start", "image"), 5.0),
        pytest.param(("start", "text", "image"), 5.0, marks=pytest.mark.slow),
        pytest.param(("start", "image"), 1.0, marks=pytest.mark.slow),
    ],
)
def test_from_a_start_it_is_diffusers_image_to_image(
    adapted, parts, adapter, inputs, names, guidance
):
    ports = {name: inputs[name] for name in names}
    expected = drawn_by_diffusers(
        StableDiffusionImg2ImgPipeline,
        parts,
        adapter,
        adapted,
        ports,
        guidance=guidance,
        strength=0.7,
    )
    drawn = adapted.denoise(ports, SEEDS, strength=0.7, steps=4, guidance=guidance)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    # far beyond the tolerance: the image, and which one, takes part
    without = {name: ports[name] for name in names if name != "image"}
    other = ports | {"image": ports["image"][::-1]}
    for changed in (without, other):
        latents = adapted.denoise(changed, SEEDS, strength=0.7, steps=4, guidance=guidance)
        assert np.abs(latents - drawn).max() > 1e-2


@pytest.mark.parametrize(
    "names", [("text", "image"), pytest.param(("image",), marks=pytest.mark.slow)]
)
def test_from_noise_it_is_diffusers_text_to_image(adapted, parts, adapter, inputs, names):
    ports = {name: inputs[name] for name in names}
    expected = drawn_by_diffusers(
        StableDiffusionPipeline, parts, adapter, adapted, ports, guidance=5.0
    )
    drawn = adapted.denoise(ports, SEEDS, steps=4)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)


def test_without_an_image_the_model_is_as_without_an_adapter(adapted, parts, inputs):
    plain = LatentDiffusion.from_components(**vars(copy.deepcopy(parts)), device="cpu")
    assert plain.ports == ("start", "text")
    assert plain.embedding_width is None
    assert adapted.ports == ("start", "text", "image")
    assert adapted.embedding_width == WIDTH
    assert plain.identity == adapted.identity
    for names in (("start",), ("start", "text"), ("text",), ()):
        ports = {name: inputs[name] for name in names}
        adapted.denoise(inputs, SEEDS, steps=2)  # leaves its scale behind
        np.testing.assert_allclose(
            adapted.denoise(ports, SEEDS, steps=2), plain.denoise(ports, SEEDS, steps=2), atol=1e-5
        )
    # a zero embedding is not neutral: its tokens are not zero
    zero = inputs | {"image": np.zeros((2, WIDTH), np.float32)}
    with_zero = adapted.denoise(zero, SEEDS, steps=2)
    without = adapted.denoise({k: inputs[k] for k in ("start", "text")}, SEEDS, steps=2)
    assert np.abs(with_zero - without).max() > 1e-3


def test_the_scale_weighs_the_image(adapted, parts, adapter, inputs):
    drawn = [
        LatentDiffusion.from_components(
            **vars(copy.deepcopy(parts)), device="cpu", image=IPAdapter(adapter.file, scale)
        ).denoise(inputs, SEEDS, steps=2)
        for scale in (0.0, SCALE)
    ]
    absent = adapted.denoise({k: inputs[k] for k in ("start", "text")}, SEEDS, steps=2)
    np.testing.assert_allclose(drawn[0], absent, atol=1e-5)
    np.testing.assert_allclose(drawn[1], adapted.denoise(inputs, SEEDS, steps=2), atol=1e-6)
    for scale in (-1, float("inf"), float("nan")):
        with pytest.raises(UserError, match="scale of an IP-Adapter is 0 or more, not"):
            IPAdapter(adapter.file, scale)


def test_a_row_does_not_depend_on_its_batch(adapted, inputs):
    both = adapted.denoise(inputs, SEEDS, steps=2)
    alone = adapted.denoise({k: v[1:] for k, v in inputs.items()}, SEEDS[1:], steps=2)
    np.testing.assert_allclose(alone, both[1:], atol=1e-4)
    one_by_one = adapted.denoise(inputs, SEEDS, steps=2, batch_size=1)
    np.testing.assert_allclose(one_by_one, both, atol=1e-4)
    shared = adapted.denoise(inputs | {"image": inputs["image"][:1]}, SEEDS, steps=2)
    np.testing.assert_allclose(shared[0], both[0], atol=1e-4)
    assert np.abs(shared[1] - both[1]).max() > 1e-2


def test_tuning_changes_an_image_by_rounding_only(adapted, parts, adapter, inputs):
    tuned = LatentDiffusion.from_components(
        **vars(copy.deepcopy(parts)),
        device="cpu",
        image=adapter,
        tuning=Tuning(channels_last=False, attention="plain"),
    )
    kinds = {type(p).__name__ for p in tuned.networks.unet.attn_processors.values()}
    assert kinds == {"AttnProcessor", "IPAdapterAttnProcessor"}
    expected = adapted.denoise(inputs, SEEDS, steps=2)
    np.testing.assert_allclose(tuned.denoise(inputs, SEEDS, steps=2), expected, atol=1e-4)


def test_embeddings_of_another_encoder_are_refused(adapted):
    with pytest.raises(ValueError, match=r"shape \(n, 24\), not \(2, 16\); take them from the enc"):
        adapted.denoise({"image": np.zeros((2, 16))}, SEEDS)
    with pytest.raises(ValueError, match=r"image embeddings hold NaN .* rows \[1\]"):
        adapted.denoise({"image": np.array([[0.0] * WIDTH, [np.nan] * WIDTH])}, SEEDS)


def changed(tensors: dict, path, drop: str = "", **more) -> IPAdapter:
    kept = {name: t for name, t in tensors.items() if not (drop and name.startswith(drop))}
    save_file({**kept, **{name.replace("__", "."): t for name, t in more.items()}}, path)
    return IPAdapter(path)


def test_files_that_are_no_adapter_for_the_model_are_refused(parts, adapter, tmp_path):
    tensors, path = load_file(adapter.file), tmp_path / "other.safetensors"
    wide = tensors["ip_adapter.1.to_k_ip.weight"].repeat(1, 2)
    broken = tensors["ip_adapter.1.to_k_ip.weight"] * np.nan
    latents = torch.zeros(1, 16, 8)
    for make, message in (
        (lambda: IPAdapter(tmp_path / "absent"), "There is no IP-Adapter .*absent"),
        (lambda: changed(tensors, path, "ip_adapter."), "holds no IP-Adapter"),
        (
            lambda: changed(tensors, path, "image_proj.proj", image_proj__latents=latents),
            "takes more than the embedding of an image",
        ),
        (
            lambda: changed(tensors, path, ip_adapter__1__to_k_ip__weight=wide),
            "does not fit the U-Net",
        ),
        (lambda: changed(tensors, path, "ip_adapter.3."), "does not fit the U-Net"),
        (lambda: changed(tensors, path, ip_adapter__1__to_k_ip__weight=broken), "NaN or infinite"),
    ):
        with pytest.raises(UserError, match=message):
            LatentDiffusion.from_components(
                **vars(copy.deepcopy(parts)), device="cpu", image=make()
            )


def test_it_is_planned_without_weights(saved_pipeline, tmp_path):
    unet = LatentDiffusion.from_pretrained(saved_pipeline, device="cpu").networks.unet
    file = save_adapter(unet, WIDTH, tmp_path / "adapter.safetensors")
    planned = Architecture.from_pretrained(saved_pipeline, ip_adapter=IPAdapter(file))
    loaded = LatentDiffusion.from_pretrained(
        saved_pipeline, device="cpu", ip_adapter=IPAdapter(file)
    )
    for name in ("ports", "embedding_width", "module_names"):
        assert getattr(planned, name) == getattr(loaded, name)
    modules = ("mid_block", "up_blocks.0")
    assert planned.activation_shapes(modules) == loaded.activation_shapes(modules)
    alone = ModelCost(Architecture.from_pretrained(saved_pipeline))
    more = ModelCost(planned)
    assert more.n_parameters - alone.n_parameters == sum(
        t.numel() for t in load_file(file).values()
    )
    assert more.denoise_flops > alone.denoise_flops


def test_a_published_adapter_is_planned_before_it_is_there(tmp_path):
    name, file = "CompVis/stable-diffusion-v1-4", tmp_path / "ip-adapter_sd15.safetensors"
    planned = Architecture.from_pretrained(name, local_files_only=True, ip_adapter=IPAdapter(file))
    assert planned.embedding_width == 1024
    with pytest.raises(UserError, match="There is no IP-Adapter"):
        Architecture.from_pretrained(
            name, local_files_only=True, ip_adapter=IPAdapter(tmp_path / "mine.safetensors")
        )
