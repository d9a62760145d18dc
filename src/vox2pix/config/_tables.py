"""The tables of an experiment file: frozen models that name and describe every setting."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)

from vox2pix.buckets import as_path, is_url
from vox2pix.config._names import digest


class Table(BaseModel):
    """One table of the file: frozen, and no other keys than its own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    def __hash__(self) -> int:
        """Hash a table by what it holds, also where that is a mapping: workers open a run by it."""
        return hash(self.model_dump_json())


class PhantomSource(Table):
    """How to simulate a subject; see :func:`vox2pix.phantom.simulate`."""

    sessions: int = Field(default=4, ge=1, description="sessions of the simulated subject")
    trials_per_session: int = Field(default=750, ge=3, description="trials per session")
    n_shared: int = Field(default=100, ge=2, description="test images, seen by every subject")
    n_early: int = Field(default=1500, ge=1, description="voxels of the early stream")
    n_ventral: int = Field(default=1500, ge=1, description="voxels of the ventral stream")
    seed: int = Field(default=0, ge=0, description="seed of images, brain and noise")


SessionNumber = Annotated[int, Field(ge=1)]
Place = Path | str | None
COMPANIONS = ("stimuli", "images", "captions", "rois", "test")
"""Settings of ``[data]`` that name what is beside the data: files and folders, or a share."""
PLACES = ("path", *COMPANIONS)
"""Settings of ``[data]`` that name files and folders: these may move without another result."""


class DataConfig(Table):
    """Whose responses to what; a phantom is simulated into the run folder and has no path."""

    source: str = Field(
        description="`phantom`, a simulated subject, or the layout of the data: `nsd`, `folder`, "
        "or another reader's"
    )
    path: Place = Field(
        default=None,
        description="root of the data, relative to the experiment file, or its URL; not for the "
        "phantom",
    )
    subject: int = Field(default=1, ge=1, description="number of the subject in NSD's tree")
    sessions: SessionNumber | Annotated[tuple[SessionNumber, ...], Field(min_length=1)] | None = (
        Field(
            default=None,
            description="the first so many sessions, or these; all if absent (NSD's tree)",
        )
    )
    space: str = Field(default="func1pt8mm", description="space of the responses (NSD's tree)")
    betas: str = Field(default="betas_fithrf_GLMdenoise_RR", description="version of the betas")
    stimuli: Place = Field(
        default=None, description="table that says which stimulus each condition or trial showed"
    )
    images: Place = Field(
        default=None, description="images by the name of their stimulus: a folder, or an array file"
    )
    captions: Place = Field(default=None, description="table of captions: `stimulus_id`, `caption`")
    rois: Place = Field(
        default=None, description="regions: a folder of masks and label images, or a table of flags"
    )
    test: Annotated[float, Field(gt=0, lt=1)] | Place = Field(
        default=None,
        description="stimuli held out for test: a share of them, or a file that lists them",
    )
    options: dict[str, str | int | float | bool] = Field(
        default={}, description="what only the reader of this layout takes"
    )
    phantom: PhantomSource = PhantomSource()
    max_test_stimuli: int | None = Field(
        default=None,
        ge=2,
        description="draw and score the first so many test stimuli; all if absent",
    )

    @field_validator(*PLACES)
    @classmethod
    def _local_or_url(cls, path: Any) -> Any:
        return Path(path) if isinstance(path, str) and not is_url(path) else path

    @model_validator(mode="after")
    def _path_where_needed(self) -> "DataConfig":
        if self.source != "phantom" and self.path is None:
            raise ValueError(f"data.path is missing: name the folder of the {self.source} data.")
        return self

    def settings(self) -> dict[str, Any]:
        """Return what changes a result: everything but the places of files."""
        places = {name for name in PLACES if not isinstance(getattr(self, name), float)}
        return self.model_dump(mode="json", exclude=places)

    def with_places(self, change: Callable[[str, Path], Path]) -> "DataConfig":
        """Return the same data with every local place changed, by its setting and its path."""
        places = {name: getattr(self, name) for name in PLACES}
        return self.model_copy(
            update={k: change(k, p) for k, p in places.items() if isinstance(p, Path)}
        )

    def root(self, run_path: Path) -> Path:
        """Return the root of the data; that of a simulated subject is in the run folder."""
        named = digest([self.phantom.model_dump(), self.subject, self.space])[:8]
        return run_path / f"phantom-{named}" if self.path is None else as_path(self.path)


class ModelConfig(Table):
    """The frozen latent diffusion model."""

    name: str = Field(
        default="phantom",
        description="phantom, a diffusers pipeline folder, relative to the experiment file, or a "
        "Hugging Face name",
    )
    revision: str | None = Field(
        default=None, description="branch, tag or commit, for a Hugging Face name"
    )


class GenerateConfig(Table):
    """How images are drawn from what was decoded."""

    conditions: tuple[str, ...] | None = Field(
        default=None,
        description="targets to draw from, such as `z`, `z+c` or `z-decode`; if absent, each "
        "target alone, all together, and the images that targets give without denoising",
    )
    ceilings: tuple[str, ...] | None = Field(
        default=None,
        description="conditions that are also drawn from true features; if absent, each target "
        "alone and all together",
    )
    shuffled: bool = Field(
        default=True, description="whether to draw from responses to other stimuli, as a control"
    )
    samples: int = Field(default=5, ge=1, description="noise samples per stimulus")
    ceiling_samples: int = Field(
        default=1, ge=1, description="the same for ceilings and the shuffled control"
    )
    strength: float = Field(
        default=0.8, gt=0, le=1, description="how far the start is noised, as a share of the steps"
    )
    steps: int = Field(default=50, ge=1, le=999, description="length of the sampler's schedule")
    guidance: float = Field(
        default=5.0, ge=1, description="classifier-free guidance scale; 1 is no guidance"
    )
    schedule: Literal["diffusers", "takagi2023"] = Field(
        default="diffusers",
        description="noise level at which denoising starts, of images and of z_c (encode)",
    )
    ip_adapter: Path | None = Field(
        default=None,
        description="safetensors file of an IP-Adapter, relative to the experiment file; by it "
        "the model takes embeddings of images (target image)",
    )
    ip_adapter_scale: float = Field(
        default=1.0, ge=0, description="weight of the image beside the text in an IP-Adapter"
    )
    noise_level: int = Field(
        default=0, ge=0, lt=1000, description="noise on embeddings of images, in unCLIP models"
    )

    @model_validator(mode="after")
    def _something_to_draw(self) -> "GenerateConfig":
        if self.ip_adapter is None and self.ip_adapter_scale != 1:
            raise ValueError(
                f"generate.ip_adapter_scale is {self.ip_adapter_scale:g}, but no "
                "generate.ip_adapter is named: name its file, or remove the scale."
            )
        for name in ("conditions", "ceilings"):
            names = getattr(self, name) or ()
            if len(set(names)) < len(names):
                raise ValueError(f"generate.{name} names a condition twice: {', '.join(names)}.")
        if int(self.steps * self.strength) < 1:
            raise ValueError(
                f"generate.steps = {self.steps} at generate.strength = {self.strength} leaves no "
                "step to denoise; raise one of them."
            )
        return self


class EvaluateConfig(Table):
    """What the images are compared with."""

    encoder: str = Field(
        default="phantom",
        description="phantom, pixels, a folder with a CLIP model, relative to the experiment "
        "file, or its Hugging Face name",
    )
    per_group: int = Field(default=3, ge=1, description="best, median and worst rows on the sheet")


class AuditConfig(Table):
    """Whether images are checked for having come from the brain at all."""

    enabled: bool = Field(
        default=True, description="whether to draw and check what the audit needs"
    )
    clusters: int = Field(
        default=4,
        ge=2,
        description="groups of images with similar features, each held out of training once",
    )


Share = Annotated[float, Field(gt=0, le=1)]


class EncodeConfig(Table):
    """Which latents explain which voxels: the four analyses of the paper, and their statistics.

    Moments of denoising are shares of the steps that are run: at 0.1 the image is still mostly
    noise, at 1 it is finished.
    """

    rois: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=(
            "early",
            "midventral",
            "midlateral",
            "midparietal",
            "ventral",
            "lateral",
            "parietal",
        ),
        description="regions whose voxels are modelled; all for the whole brain",
    )
    latents: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="targets and z_c, the denoised latent, that are compared, each alone; all if "
        "absent",
    )
    strength: Share = Field(
        default=0.8, description="noise added before denoising for z_c, moments and layers"
    )
    strengths: tuple[Share, ...] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 1.0),
        description="noise levels at which z and z_c share one model; none leaves this out",
    )
    moments: tuple[Share, ...] = Field(
        default=(0.1, 0.5, 1.0),
        description="moments of denoising at which z and z_c share one model",
    )
    layers: tuple[str, ...] | None = Field(
        default=None,
        description="modules of the U-Net, by name; if absent, its first two and last two blocks "
        "and the middle one",
    )
    layer_moments: tuple[Share, ...] = Field(
        default=(0.1, 0.4, 0.7, 1.0), description="moments of denoising at which layers are taken"
    )
    steps: int = Field(default=50, ge=1, le=999, description="length of the sampler's schedule")
    guidance: float = Field(default=5.0, ge=1, description="classifier-free guidance scale")
    n_components: int = Field(
        default=6400, ge=1, description="dimensions that larger feature spaces are reduced to"
    )
    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = Field(
        default=None, description="ridge penalties to choose from; the model's own if absent"
    )
    selection: Literal["gcv", "cv"] = Field(
        default="gcv", description="generalised cross-validation, or folds over stimuli"
    )
    null: Literal["gaussian", "permutation"] = Field(
        default="gaussian",
        description="null distribution of correlations: independent Gaussian vectors, or test "
        "responses permuted in blocks",
    )
    permutations: int = Field(default=1000, ge=100, description="draws of the permutation null")
    q: float = Field(default=0.05, gt=0, lt=1, description="false discovery rate over voxels")
    resamples: int = Field(default=1000, ge=100, description="draws of the bootstrap over stimuli")

    @model_validator(mode="after")
    def _something_to_denoise(self) -> "EncodeConfig":
        for strength in (self.strength, *self.strengths):
            if int(self.steps * strength) < 1:
                raise ValueError(
                    f"encode.steps = {self.steps} at a strength of {strength:g} leaves no step to "
                    "denoise; raise one of them."
                )
        return self


class SlurmConfig(Table):
    """Jobs that `--slurm` submits, one worker each; see `vox2pix.workers.SlurmJobs`."""

    jobs: int = Field(default=4, ge=1, description="workers")
    cores: int = Field(default=4, ge=1, description="cores of each")
    memory: str = Field(default="32GB", description="memory of each")
    walltime: str = Field(default="04:00:00", description="after which Slurm ends a job")
    queue: str | None = Field(default=None, description="partition; the cluster's own if absent")
    account: str | None = Field(default=None, description="account that is charged")
    extra: tuple[str, ...] = Field(
        default=(), description='further options of sbatch, such as "--gres=gpu:1"'
    )
    prologue: tuple[str, ...] = Field(
        default=(), description="commands before a worker starts, such as `module load cuda`"
    )
    interface: str | None = Field(
        default=None,
        description="network interface by which workers reach the machine you start from",
    )


class ComputeConfig(Table):
    """Where and how fast.

    Only ``dtype`` is part of what a run computes: half precision draws slightly other images,
    in [0, 1] less than 0.02 away on average and 0.2 anywhere. The other settings move it by less
    than 1e-4 on average and 0.01 anywhere: by rounding, and where that turns one of the coarse
    image's 8-bit values. ``benchmarks/generation.py`` prints how far each does.
    """

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:0 ... or mps")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the diffusion model"
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="images in the networks at once; auto: what the CPU's cache or the GPU's "
        "free memory suggests",
    )
    channels_last: bool = Field(
        default=True, description="whether networks keep channels last in memory"
    )
    attention: Literal["fused", "plain"] = Field(
        default="fused",
        description="torch's scaled-dot-product kernels, or two matrix products and a softmax",
    )
    compile: bool = Field(
        default=False,
        description="whether torch.compile makes the U-Net's steps faster, after minutes at the "
        "start; needs a C++ compiler",
    )
    overlap: bool = Field(
        default=False,
        description="whether a batch is decoded while the next one is denoised; slower on a CPU, "
        "whose cores are busy already",
    )
    shard_size: int = Field(default=25, ge=1, description="stimuli per saved shard")
    voxel_block: int = Field(
        default=20_000, ge=1, description="voxels whose responses are in memory at once (encode)"
    )
    slurm: SlurmConfig = SlurmConfig()

    @field_validator("batch_size", mode="before")
    @classmethod
    def _a_size(cls, size: Any) -> Any:
        if size != "auto" and (type(size) is not int or size < 1):
            raise ValueError(
                f'compute.batch_size is {size!r}; it is a number of images, 1 or more, or "auto".'
            )
        return size
