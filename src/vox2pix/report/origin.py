"""What a run is and how it was made: in a sentence, in tables, and with whom to credit."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from vox2pix.config import PLACES, Config
from vox2pix.outside import without_places
from vox2pix.report.contents import RunContents
from vox2pix.report.labels import counted, listed

_CITED = {
    "method": (
        "Takagi & Nishimoto (2023). High-resolution image reconstruction with latent diffusion "
        "models from human brain activity. CVPR. The method."
    ),
    "diffusion": (
        "Rombach et al. (2022). High-resolution image synthesis with latent diffusion models. "
        "CVPR. The kind of model that draws."
    ),
    "nsd": (
        "Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and "
        "artificial intelligence. Nature Neuroscience 25, 116-126."
    ),
    "audits": (
        "Shirakawa et al. (2025). Spurious reconstruction from brain activity. "
        "Neural Networks. Why the audits are there."
    ),
}
_STABLE_DIFFUSION = (
    "Stable Diffusion's weights are under the CreativeML Open RAIL-M licence, which restricts some "
    "uses."
)
_READ_WEIGHTS = ("features", "generate", "evaluate")  # stages, beside the model's own
_NOT_READ = "The data of this run have not been read yet."


def _description(run: RunContents, name: str) -> str:
    """Describe a target as the run recorded it."""
    recorded = run.targets.get(name, {})
    variant = f" ({recorded['variant']})" if recorded.get("variant") else ""
    return str(recorded.get("description") or f"the target {name}") + variant


def what_was_done(run: RunContents) -> str:
    """Summarise what was done: subject, data, targets, model, protocol."""
    config = run.config
    if run.data is None:
        return _NOT_READ
    if run.only_encoded:
        return (
            f"Responses of {_dataset(run)} ({run.subject}) were modelled, voxel by "
            f"voxel, by latents of the diffusion model {config.model.name}: linear encoding "
            "models. Nothing was decoded or drawn in this run."
        )
    decoded = "; ".join(
        f"{_description(run, name)}, was decoded from {listed(rois)}"
        for name, rois in run.config.decode.rois.items()
        if name in run.decoded_r or not run.decoded_r
    )
    return (
        f"What {run.subject} saw was drawn from responses of {_dataset(run)}: "
        f"{decoded}. Decoding is by linear regression; "
        f"the latent diffusion model {config.model.name} drew "
        f"{counted(config.generate.samples, 'sample')} of each test image "
        f"({config.protocol} protocol, strength {config.generate.strength:g}, "
        f"{config.generate.steps} steps, guidance {config.generate.guidance:g})."
    )


def settings(config: Config) -> dict[str, str]:
    """Return every setting by its dotted name."""
    values = dict(_flat(config.model_dump(mode="json"), ""))
    for key in PLACES:  # pages are sent to others
        place = getattr(config.data, key)
        if place is not None and not isinstance(place, float):
            values[f"data.{key}"] = PurePosixPath(place).name
    return values


def stages(run: RunContents) -> list[dict[str, str]]:
    """Describe each stage: its key, and the time and memory that it took where that was noted."""
    rows = []
    for name, made in run.provenance.items():
        seconds, memory = made.get("seconds"), made.get("peak_memory_gb")
        rows.append(
            {
                "name": name,
                "key": made.get("key", ""),
                "time": "not noted" if seconds is None else _duration(float(seconds)),
                "memory": "not noted" if memory is None else f"{float(memory):.1f} GB",
            }
        )
    return rows


def hashes(run: RunContents) -> dict[str, str]:
    """Return the SHA-256 of every file of weights that the run used."""
    weights = {f"{run.config.model.name}/{k}": v for k, v in run.model.get("sha256", {}).items()}
    inputs = {s: run.provenance.get(s, {}).get("inputs") or {} for s in _READ_WEIGHTS}
    own = {k: v for k, v in inputs["features"].items() if k.startswith("decode.")}
    adapter = {f"IP-Adapter/{k}": v for k, v in inputs["generate"].items()}
    encoder = f"encoder {run.config.evaluate.encoder}"
    return weights | own | adapter | {f"{encoder}/{k}": v for k, v in inputs["evaluate"].items()}


def machine(run: RunContents) -> Mapping[str, Any]:
    """Return the machine and software of the run's last stage; empty if none was finished."""
    made = list(run.provenance.values())
    return made[-1]["machine"] if made else {}


def resume(run: RunContents, command: str = "run") -> str:
    """Return the command that does what is left of a run, from the folder above the run."""
    name = quote(run.path.name)
    return f"vox2pix {command} {name}/config.toml --out {name}"


def commands(run: RunContents) -> list[str]:
    """List the commands that make the run again beside it, from the folder above the run."""
    name, again = quote(run.path.name), quote(f"{run.path.name}-again")
    return [f"vox2pix run {name}/config.toml --out {again}", f"vox2pix report {again}"]


def licences(run: RunContents) -> list[str]:
    """List what whoever passes the page on must know."""
    data = _NOT_READ if run.data is None else run.data.licence
    uses_sd = "stable-diffusion" in run.config.model.name.lower()
    return [data, *([_STABLE_DIFFUSION] if uses_sd else [])]


def data_notes(run: RunContents) -> tuple[str, ...]:
    """Return what was coerced, dropped, defaulted or chosen while the data were read."""
    return () if run.data is None else tuple(map(without_places, run.data.notes))


def data_facts(run: RunContents) -> dict[str, str]:
    """Return what was read, by name; nothing before it was."""
    data = run.data
    if data is None:
        return {}
    return {
        "data": data.identity,
        "subject": data.subject,
        "trials": (
            f"{data.n_train_trials:,} of {counted(data.n_train_stimuli, 'training image')}, "
            f"{data.n_test_trials:,} of {counted(data.n_test_stimuli, 'test image')}, in "
            f"{counted(data.n_sessions, 'session')}"
        ),
        "voxels": ", ".join(f"{name} {n:,}" for name, n in data.n_voxels.items()),
        "space": data.space,
        "responses": data.unit,
        "split": data.split,
    }


def citations(run: RunContents) -> list[str]:
    """List the papers to cite: of the method, and of the data where they are NSD's."""
    uses = {"nsd": "The data.", "simulated": "The statistics that the phantom is calibrated to."}
    use = uses.get(run.data.dataset if run.data else "")
    cited = {**_CITED, "nsd": f"{_CITED['nsd']} {use}"}
    return [text for name, text in cited.items() if name != "nsd" or use]


def _dataset(run: RunContents) -> str:
    """Name the data that were read."""
    if run.data is None:
        return "data that have not been read"
    return run.data.phrase


def _flat(table: Mapping[str, Any], above: str) -> list[tuple[str, str]]:
    """List the settings of a table and those below it; lists as they are written."""
    settings: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            settings += _flat(value, f"{above}{key}.")
        elif value is not None:
            shown = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
            settings.append((f"{above}{key}", shown))
    return settings


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
