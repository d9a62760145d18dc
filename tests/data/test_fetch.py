"""The download of NSD, from a real S3 server that fails where a test wants it to."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from buckets.server import Fault
from vox2pix.cli import app
from vox2pix.data import fetch, open_nsd
from vox2pix.errors import UserError


@pytest.fixture
def nsd_bucket(s3, nsd):
    """NSD's bucket, with a tiny tree of two sessions in it."""
    tree = nsd()
    s3.client.create_bucket(Bucket="natural-scenes-dataset")
    s3.upload(tree.root, "natural-scenes-dataset")
    s3.proxy.reset()
    yield tree
    for key in s3.keys("natural-scenes-dataset"):
        s3.client.delete_object(Bucket="natural-scenes-dataset", Key=key)
    s3.client.delete_bucket(Bucket="natural-scenes-dataset")


def run(*args):
    result = CliRunner().invoke(app, ["fetch", "nsd", *map(str, args)])
    return result.exit_code, " ".join(result.output.split())


def test_a_fetched_tree_is_read_as_the_original(nsd_bucket, tmp_path):
    out = tmp_path / "copy"
    status, output = run("--accept-terms", "--out", out)
    assert status == 0, output
    assert "Terms-and-Conditions" in output
    here, copy = open_nsd(nsd_bucket.root), open_nsd(out)
    assert copy.train.betas().tobytes() == here.train.betas().tobytes()
    assert copy.captions(here.test.stimulus_ids) == here.captions(here.test.stimulus_ids)
    assert not list(out.rglob("*.partial"))


def test_only_what_is_asked_for_comes_and_only_once(s3, nsd_bucket, tmp_path):
    out = tmp_path / "copy"
    options = ("--accept-terms", "--out", out, "--what", "betas", "--sessions", 1)
    assert run(*options)[0] == 0
    names = {path.name for path in out.rglob("*") if path.is_file()}
    assert names == {
        "betas_session01.hdf5", "ncsnr.nii.gz", "nsd_expdesign.mat", "responses.tsv",
        ".vox2pix.json",
    }  # fmt: skip
    s3.proxy.reset()
    assert run(*options[1:])[0] == 0  # nothing is left to ask about
    assert not s3.proxy.sent("session01.hdf5")
    next(out.rglob("ncsnr.nii.gz")).unlink()
    assert run(*options)[0] == 0
    assert s3.proxy.asked("ncsnr.nii.gz") and not s3.proxy.sent("session01.hdf5")


@pytest.mark.parametrize(("answer", "sentence"), [(None, "--accept-terms"), ("n", "not accepted")])
def test_without_acceptance_nothing_is_written(nsd_bucket, tmp_path, monkeypatch, answer, sentence):
    out = tmp_path / "copy"
    if answer:
        from vox2pix.cli import data

        terminal = SimpleNamespace(isatty=lambda: True)
        monkeypatch.setattr(data, "sys", SimpleNamespace(stdin=terminal))
        monkeypatch.setattr(data.typer, "confirm", lambda question: answer == "y")
    status, output = run("--out", out)
    assert status == 2 and sentence in output and "nothing was written" in output
    assert not out.exists()


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(
    s3, nsd_bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr(fetch, "_CHUNK_BYTES", 4000)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    out = tmp_path / "copy"
    files = [f for f in fetch.nsd_files(what=["stimuli"]) if f.name.endswith("nsd_stimuli.hdf5")]
    came = []

    def stop_after_three(n_bytes):
        came.append(n_bytes)
        if len(came) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.download(files, out, stop_after_three)
    assert not files[0].place(out).exists()
    assert files[0].left(out) == files[0].size - 12_000
    s3.proxy.reset()
    s3.proxy.faults += [Fault("cut", "nsd_stimuli", times=1)]  # and this time the server fails
    fetch.download(files, out)
    ranges = [request.range for request in s3.proxy.asked("nsd_stimuli")]
    assert ranges[0].startswith("bytes=12000-")
    original = nsd_bucket.root / files[0].name
    assert files[0].place(out).read_bytes() == original.read_bytes()


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_file_that_arrives_damaged_is_found_and_does_not_appear(
    s3, nsd_bucket, tmp_path, in_parts
):
    key = f"nsddata_betas/ppdata/subj01/func1pt8mm/{nsd_bucket.folder.name}/betas_session01.hdf5"
    content = np.random.default_rng(0).bytes(11 * 2**20)
    if in_parts:
        _put_in_parts(s3.client, key, content, 5 * 2**20)
    else:
        s3.client.put_object(Bucket="natural-scenes-dataset", Key=key, Body=content)
    out = tmp_path / "copy"
    files = [f for f in fetch.nsd_files(what=["betas"], sessions=1) if f.name == key]
    assert ("-" in files[0].version) == in_parts
    s3.proxy.faults.append(Fault("corrupt", "betas_session01"))
    with pytest.raises(UserError, match=r"betas_session01\.hdf5 arrived with another checksum"):
        fetch.download(files, out)
    assert not files[0].place(out).exists()
    assert fetch.download(files, out) == ()  # verified, not merely complete
    assert hashlib.md5(files[0].place(out).read_bytes()).digest() == hashlib.md5(content).digest()


def _put_in_parts(client, key, content, part):
    place = {"Bucket": "natural-scenes-dataset", "Key": key}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts = [
        {
            "PartNumber": i + 1,
            "ETag": client.upload_part(
                **place, UploadId=upload, PartNumber=i + 1, Body=content[i * part : (i + 1) * part]
            )["ETag"],
        }
        for i in range(-(-len(content) // part))
    ]
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})


def test_a_full_disk_is_noticed_before_the_first_byte(s3, nsd_bucket, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 2**30})()
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: usage)
    status, output = run("--accept-terms", "--out", tmp_path / "copy")
    assert status == 2 and "GB free: make room" in output
    assert not (tmp_path / "copy").exists()


def test_what_is_not_there_is_said_with_what_is(nsd_bucket):
    assert "there is: subj01" in run("--subject", 7)[1]
    assert "did you mean betas" in run("--what", "beta")[1]
    assert "has 2 sessions in func1pt8mm, not 3" in run("--sessions", 3)[1]


def test_a_bucket_without_access_is_one_sentence(s3, nsd_bucket):
    s3.proxy.faults.append(Fault("denied", times=99))
    s3.proxy.faults.append(Fault("denied", method="HEAD", times=99))
    status, output = run("--accept-terms")
    assert status == 2 and "access is denied" in output
