import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vox2pix.seeds import rng_for, seed_for

names = st.lists(st.one_of(st.text(), st.integers()), max_size=4)


@given(st.integers(), names)
def test_a_name_has_one_seed_that_torch_and_numpy_take(run_seed, name):
    seed = seed_for(run_seed, *name)
    assert 0 <= seed < 2**63
    assert seed == seed_for(run_seed, *name)
    np.random.default_rng(seed)


@given(st.integers(), names, names)
def test_different_names_have_different_seeds(run_seed, one, other):
    assert (seed_for(run_seed, *one) == seed_for(run_seed, *other)) == (one == other)


def test_a_number_is_not_its_text_and_parts_do_not_run_together():
    assert seed_for(0, 1) != seed_for(0, "1")
    assert seed_for(0, "a", "bc") != seed_for(0, "ab", "c")


def test_seeds_are_the_same_on_every_machine():
    assert seed_for(0, "picture", "00042", 3) == 1383101411520322027


def test_neighbouring_names_give_unrelated_numbers():
    first, second = (rng_for(0, "stimulus", i).standard_normal(20_000) for i in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(20_000)
