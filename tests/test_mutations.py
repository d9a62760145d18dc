"""Every mutation of the package is caught by the tests that it names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vox2pix
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vox2pix.__file__).parent
FAILED = 1  # what pytest returns where tests ran and one of them failed


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, removed afterwards: there are many, of some 30 MB each."""
    place = tmp_path / "src"
    shutil.copytree(PACKAGE, place / "vox2pix", ignore=shutil.ignore_patterns("__pycache__"))
    yield place
    shutil.rmtree(place)


def run_with(copy: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python on the copy of the package instead of the one that is installed."""
    paths = (str(copy), str(ROOT / "tests"), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["OMP_NUM_THREADS"] = "1"
    environment["HYPOTHESIS_STORAGE_DIRECTORY"] = str(copy / "hypothesis")
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def outcome_of(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess:
    """Run tests on a copy of the package, until one fails."""
    selected = [f"tests/{test}" for test in tests]
    return run_with(copy, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *selected)


def test_the_list_is_long_and_most_of_it_is_wiring():
    assert len(MUTATIONS) >= 40
    assert sum(m.file.startswith("pipeline/") for m in MUTATIONS) >= len(MUTATIONS) / 2
    assert len({m.breaks for m in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.breaks)
def test_what_a_mutation_replaces_stands_there_once(mutation: Mutation):
    source = (PACKAGE / mutation.file).read_text()
    assert source.count(mutation.old) == 1
    assert mutation.new != mutation.old
    compile(source.replace(mutation.old, mutation.new), mutation.file, "exec")
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / "tests" / file).read_text()


@pytest.mark.slow
def test_without_a_mutation_all_tests_pass(copy):
    found = run_with(copy, "-c", "import vox2pix; print(vox2pix.__file__)")
    assert Path(found.stdout.strip()).parent == copy / "vox2pix"
    result = outcome_of(copy, tuple(dict.fromkeys(test for m in MUTATIONS for test in m.tests)))
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.breaks)
def test_a_mutation_is_caught(copy, mutation: Mutation):
    path = copy / "vox2pix" / mutation.file
    path.write_text(path.read_text().replace(mutation.old, mutation.new))
    result = outcome_of(copy, mutation.tests)
    survived = f"{mutation.breaks}: pytest ended with {result.returncode}\n{result.stdout}"
    assert result.returncode == FAILED, survived
