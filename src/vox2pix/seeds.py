"""One seed for each (run, stimulus, sample), whatever the order or place of the work."""

import hashlib
import json

import numpy as np


def seed_for(run_seed: int, *names: str | int) -> int:
    """Return the seed that belongs to a name under a run's seed.

    The names are hashed (BLAKE2b), so that a seed depends on neither the order in which work is
    done nor the number of workers, and neighbouring names give unrelated seeds.
    """
    text = json.dumps([run_seed, *names])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def rng_for(run_seed: int, *names: str | int) -> np.random.Generator:
    """Return NumPy's default generator, seeded by :func:`seed_for`."""
    return np.random.default_rng(seed_for(run_seed, *names))
