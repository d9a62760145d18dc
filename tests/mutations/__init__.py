"""Mutations of the package that its tests must catch, run by ``make test-slow``.

A mutation is one fault that somebody could write: a part of a file below ``src/vox2pix`` and what
stands there instead. The tests that it names must fail with it. Where one of them passes, a test
is missing.
"""

from mutations._mutation import Mutation
from mutations.encode import ENCODE
from mutations.readers import READERS
from mutations.reconstruct import RECONSTRUCT
from mutations.rooms import ROOMS
from mutations.stages import STAGES
from mutations.transfer import TRANSFER

MUTATIONS: tuple[Mutation, ...] = (*STAGES, *RECONSTRUCT, *ENCODE, *ROOMS, *READERS)
MUTATIONS: tuple[Mutation, ...] = (*STAGES, *RECONSTRUCT, *ENCODE, *TRANSFER, *ROOMS)

__all__ = ["MUTATIONS", "Mutation"]
