"""What a figure or a run was made with."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from vox2pix.outside import without_secrets

try:
    import resource
except ModuleNotFoundError:  # not on Windows
    resource = None  # type: ignore[assignment]

_PACKAGES = ("vox2pix", "torch", "diffusers", "transformers", "numpy", "scipy", "scikit-learn")


def peak_memory() -> float:
    """Return the most bytes of memory that this process has used so far."""
    if resource is None:
        import psutil

        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def machine() -> dict[str, Any]:
    """Describe the machine and the software: what a figure or a run was made with."""
    import psutil

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
        "command": [without_secrets(argument) for argument in sys.argv],
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the revision of the source tree that this code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
