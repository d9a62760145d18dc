"""Nothing outside the room ``untrusted`` opens a file that somebody else wrote."""

import ast
from pathlib import Path

import pytest

import vox2pix

SOURCE = Path(vox2pix.__file__).parent

# Calls by their last two names, as they are written in the source.
DOORS = {
    *("h5py.File", "zarr.open", "zarr.open_array", "zarr.open_group", "zarr.load", "np.load"),
    *("np.loadtxt", "np.genfromtxt", "np.fromfile", "np.memmap", "format.open_memmap"),
    *("torch.load", "jit.load", "nib.load", "nibabel.load", "Image.open", "json.load"),
    *("json.loads", "tomllib.load", "tomllib.loads", "pickle.load", "pickle.loads", "yaml.load"),
    *(
        "joblib.load",
        "pd.read_csv",
        "pd.read_pickle",
        "pd.read_hdf",
        "gzip.open",
        "zipfile.ZipFile",
    ),
    *("loadmat", "ZipFile", "safe_open", "load_file", "eval", "exec", "import_module"),
}
# What reads or writes only vox2pix's own files, and why.
OWN = {
    "store/files.py": "files of a run, with checksums",
    "store/owned.py": "the marker of a folder of vox2pix's own",
    "store/keyed.py": "files of a run, with checksums",
    "store/sharded.py": "makes arrays of a run",
    "report/contents.py": "tables of a run",
    "cli/tables.py": "tables of a run",
    "pipeline/encode/_7_maps.py": "tables of a run",
    "pipeline/encode/_8_figures.py": "tables of a run",
    "pipeline/reconstruct/_7_audit.py": "tables of a run",
    "pipeline/reconstruct/_8_report.py": "tables of a run",
    "linear/saving.py": "settings in an array that a person passes",
    "config/_settings.py": "settings on the command line",
    "__init__.py": "names of its own modules",
    "phantom/nsd_tree.py": "writes",
    "phantom/experiment.py": "writes, and reads what it wrote",
}


GUARDED = ("LatentDiffusion.", "Architecture.")  # our own, which open by safe settings


def calls(source: str) -> list[tuple[int, str]]:
    """Return line and name of each call, the name as its last two parts."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        lines.append((node.lineno, ".".join(ast.unparse(node.func).split(".")[-2:])))
    return lines


def unsafe_loads(source: str) -> list[int]:
    """Return the lines of ``from_pretrained`` on folders without its two safe settings."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".from_pretrained"):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            safe = (
                given.get("use_safetensors") == "True" or given.get("trust_remote_code") == "False"
            )
            if not safe and not ast.unparse(node.func).startswith(GUARDED):
                lines.append(node.lineno)
    return lines


def files() -> list[Path]:
    names = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return sorted(n for n in names if n.parts[0] != "untrusted" and n.as_posix() not in OWN)


@pytest.mark.parametrize("name", files(), ids=str)
def test_foreign_files_are_opened_in_one_room(name):
    source = (SOURCE / name).read_text(encoding="utf-8")
    assert [call for call in calls(source) if call[1] in DOORS] == []
    assert unsafe_loads(source) == []


def test_the_list_of_exceptions_names_files_that_exist():
    assert [name for name in OWN if not (SOURCE / name).exists()] == []


def test_what_is_looked_for_is_found():
    source = "import torch\nx = torch.load(p)\ny = h5py.File(p)\neval('1')\nM.from_pretrained(p)\n"
    assert [c for c in calls(source) if c[1] in DOORS] == [
        (2, "torch.load"),
        (3, "h5py.File"),
        (4, "eval"),
    ]
    assert unsafe_loads(source) == [5]
