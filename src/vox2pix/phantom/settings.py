"""What an experiment is simulated with."""

from collections.abc import Sequence
from dataclasses import dataclass

from vox2pix.errors import UserError
from vox2pix.seeds import seed_for

SPACES = ("func1pt8mm", "fsaverage5")
_SMALLEST = {"n_early": 20, "n_ventral": 20, "image_size": 16}


@dataclass(frozen=True)
class Settings:
    """Sizes and choices of one experiment; see :func:`vox2pix.simulate`."""

    subjects: int
    sessions: int
    trials_per_session: int
    repeats: int
    n_early: int
    n_ventral: int
    image_size: int
    n_shared: int
    spaces: tuple[str, ...]
    seed: int
    no_data: bool
    nifti: bool
    imagery: tuple[str, ...] = ()  # the case of each subject; none without imagery

    @property
    def scene_seed(self) -> int:
        """The seed of the scenes: stimulus ``nsdId`` is ``scene(nsdId, scene_seed)``."""
        return seed_for(self.seed, "phantom", "scenes")


def checked_spaces(space: str | Sequence[str]) -> tuple[str, ...]:
    """Return the requested spaces, in the order of ``SPACES``."""
    requested = SPACES if space == "both" else (space,) if isinstance(space, str) else tuple(space)
    unknown = [name for name in requested if name not in SPACES]
    if unknown or not requested:
        raise UserError(
            f"The space must not be {', '.join(map(repr, unknown)) or 'empty'}: choose "
            f"{' or '.join(map(repr, SPACES))}, or 'both'."
        )
    return tuple(name for name in SPACES if name in requested)


def checked_sizes(**sizes: int) -> dict[str, int]:
    """Return numbers of subjects, trials, voxels and pixels, none of which is too small."""
    for name, value in sizes.items():
        least = _SMALLEST.get(name, 1)
        if value < least:
            raise UserError(f"{name} is {value}: give {least} or more.")
    return sizes


def checked_shared(n_shared: int | None, n_trials: int, repeats: int) -> int:
    """Return the number of shared images: by default a tenth of a subject's images."""
    n_images = -(-n_trials // repeats)
    shared = max(1, n_images // 10) if n_shared is None else n_shared
    if not 1 <= shared < n_images:
        raise UserError(
            f"{shared} shared images are not possible with {n_images} images per subject: "
            f"give n_shared between 1 and {n_images - 1}, or more trials."
        )
    return shared
