"""Why a file cannot be read: "truncated" only where bytes are missing, else what it is."""

import gzip
import io
import json
import pickle

import h5py
import nibabel as nib
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vox2pix.data import open_nsd
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_message

VALUES = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a"] = VALUES


def write_nifti(path):
    nib.save(nib.Nifti1Image(VALUES[..., None], np.eye(4)), path)


def write_mgh(path):
    nib.save(nib.MGHImage(VALUES[..., None], np.eye(4)), path)


def read_hdf5(path):
    with h5py.File(path) as file:
        return file["a"][:]


def read_image(path):
    return np.asarray(nib.load(path).dataobj)


FORMATS = {
    ".hdf5": (write_hdf5, read_hdf5),
    ".nii": (write_nifti, read_image),
    ".nii.gz": (write_nifti, read_image),
    ".mgh": (write_mgh, read_image),
    ".mgz": (write_mgh, read_image),
    ".npy": (lambda path: np.save(path, VALUES), np.load),
    ".npz": (lambda path: np.savez(path, a=VALUES), lambda path: np.load(path)["a"]),
    ".mat": (lambda path: savemat(path, {"a": VALUES}, do_compression=True), loadmat),
    ".json": (lambda path: path.write_text(json.dumps({"a": VALUES.tolist()})),
              lambda path: json.loads(path.read_text())),
}  # fmt: skip


def sentence(path):
    """Return the message on a file that its library cannot read."""
    _, read = FORMATS["".join(path.suffixes)]
    with pytest.raises(Exception) as caught:
        read(path)
    message = damage_message(path, "no file of this kind", caught.value, "copy it again")
    assert "\n" not in message
    return message.removeprefix(f"{path} ")


def object_array():
    stream = io.BytesIO()
    np.save(stream, np.array({"betasmd": VALUES}, object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("keep", [0, 20, 100, 0.5])
def test_what_is_cut_short_is_called_truncated(tmp_path, ending, keep):
    path = tmp_path / f"a{ending}"
    FORMATS[ending][0](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    message = sentence(path)
    if keep == 0:
        assert message == "is empty (0 bytes): copy it again."
    else:
        assert message.startswith("is truncated (")
        assert message.endswith("): copy it again.")


OTHERS = {
    "web page": (b"\n <!DOCTYPE html><html><body>Sign in", "it is a web page", "logged in"),
    "bucket's error": (b"<?xml version='1.0'?><Error><Code>NoSuchKey", "it is an XML document", ""),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer",
            "run git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s1000--0123.nii.gz\n", "a git-annex pointer", "datalad get"),
    "annex link": (b"../../.git/annex/objects/Xk/1/MD5E-s1", "a git-annex pointer", "datalad get"),
    "pickle": (pickle.dumps({"betasmd": 1}), "it is pickled Python objects", "save the arrays"),
    "CSV": (b"subject,session\n1,2\n", "it is text that begins with 'subject,session'", ""),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(40), "it is a PNG image", ""),
    "PDF": (b"%PDF-1.7\n", "it is a PDF document", ""),
    "xz": (b"\xfd7zXZ\0" + bytes(40), "it is an xz archive", "unpack it"),
}  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("other", OTHERS)
def test_another_format_is_named(tmp_path, ending, other):
    content, words, remedy = OTHERS[other]
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    message = sentence(path)
    assert message.startswith("is no file of this kind, ")
    assert words in message
    assert remedy in message
    assert "truncated" not in message


@pytest.mark.parametrize("ending", FORMATS)
def test_noise_is_damaged_not_truncated(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(np.random.default_rng(1).bytes(3000))
    message = sentence(path)
    assert message.startswith("is damaged or is no file of this kind (")
    assert "pickle" not in message


@pytest.mark.parametrize("of", FORMATS)
@pytest.mark.parametrize("ending", [".hdf5", ".nii.gz", ".npy", ".mat"])
def test_files_under_another_ending(tmp_path, of, ending):
    if ending == of or (ending, of) in ((".nii.gz", ".mgz"), (".mat", ".hdf5")):
        return  # MATLAB 7.3 is HDF5
    FORMATS[of][0](tmp_path / f"b{of}")
    path = tmp_path / f"a{ending}"
    path.write_bytes((tmp_path / f"b{of}").read_bytes())
    if (ending, of) in ((".npy", ".npz"),):
        return  # NumPy reads either by its first bytes
    message = sentence(path)
    assert message.startswith("is no file of this kind, it is ")
    assert "truncated" not in message


def test_a_web_page_in_gzip(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"<html><body>login</body></html>"))
    assert sentence(path).startswith("is no file of this kind, it is gzip around a web page")


def test_a_pickled_glmsingle_file(tmp_path):
    path = tmp_path / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    path.write_bytes(object_array())
    assert sentence(path).startswith("holds pickled Python objects, which may run programs and")


# the design of an experiment


def design_file(root):
    return root / "nsddata/experiments/nsd/nsd_expdesign.mat"


def test_a_design_of_matlab_7_3(nsd):
    tree = nsd()
    before = open_nsd(tree.root)
    path = design_file(tree.root)
    design = loadmat(path)
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        for name in ("masterordering", "subjectim", "sharedix"):
            file[name] = np.asarray(design[name], float).T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    again = open_nsd(tree.root)
    assert again.trials.equals(before.trials)
    with h5py.File(path, "r+") as file:
        del file["sharedix"]
    with pytest.raises(UserError, match=r"nsd_expdesign\.mat has no array 'sharedix'"):
        open_nsd(tree.root)


@pytest.mark.parametrize("other", ["pickle", "web page", "LFS", "CSV"])
def test_a_design_that_is_something_else(nsd, other):
    tree = nsd()
    content, words, _ = OTHERS[other]
    design_file(tree.root).write_bytes(content)
    with pytest.raises(UserError, match=rf"nsd_expdesign\.mat is no MATLAB file, .*{words}"):
        open_nsd(tree.root)
