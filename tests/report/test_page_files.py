"""Pages of several runs, and files that a page replaces or leaves."""

from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from report.folders import KEY, make_run
from report.test_page import Page, decoded, figures_are_not_drawn, page_of  # noqa: F401
from vox2pix.errors import UserError
from vox2pix.report import page as page_module
from vox2pix.report import write_report
from vox2pix.store import ShardedArray, swap, write_json


def test_runs_side_by_side_with_paired_differences(tmp_path):
    first = make_run(tmp_path / "first", 12)
    second = make_run(tmp_path / "second", 12, ids=[f"{i:05d}" for i in range(2, 14)])
    path = write_report([first, second])
    page = Page(path.read_text())
    assert path == tmp_path / "compare-first-second.html"
    assert "10 test images in all runs, which have 12 and 12." in page.text
    # On the shared images the first has scores 2/11 ... 1, the second 0 ... 9/11.
    differences = np.arange(10) / 11 - np.arange(2, 12) / 11
    assert f"{100 * np.mean(np.arange(2, 12) / 11):.1f} %" in page.text
    assert f"−{abs(100 * differences.mean()):.1f} %" in page.text
    p = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert p < 0.01
    columns = [c["key"] for c in page.data["columns"] if c["inRow"]]
    assert columns == ["seen", "first z+c", "second z+c"]
    drawn = ShardedArray.existing(second / "images" / f"z+c-{KEY}").read()
    url = next(a["src"] for a in page.all("img") if a["alt"].startswith("Image 00002")
               and "second" in a["alt"])  # fmt: skip
    assert np.abs(decoded(url) - drawn[0, 0].astype(int)).mean() < 10


def test_settings_that_differ_are_listed_and_no_others(tmp_path):
    one = make_run(tmp_path / "a", 3, decode={"z": ["V1"], "c": ["V3"]})
    page = page_of(one, make_run(tmp_path / "b", 3, decode={"z": ["V2"], "c": ["V3"]}))
    assert "decode.z.rois V1 V2" in page.text
    assert "decode.c" not in page.text


def test_runs_without_shared_images_say_so(tmp_path):
    one, two = (make_run(tmp_path / n, 2, ids=[f"{n}1", f"{n}2"]) for n in "ab")
    page = page_of(one, two)
    assert "nothing can be compared image by image" in page.text


def test_no_run_folder_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.toml"):
        write_report([tmp_path])


def test_a_run_named_twice_is_refused(tmp_path):
    run = make_run(tmp_path / "run", 2)
    with pytest.raises(UserError, match="named twice"):
        write_report([run, run])


def test_a_folder_that_no_page_made_is_not_removed(tmp_path):
    run = make_run(tmp_path / "run", 301, size=8, conditions={"z": 1})
    for name in ("paper_assets", "paper_assets-01234567"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "figure1.tif").touch()
    write_report([run], tmp_path / "paper.html")
    few = make_run(tmp_path / "few", 3, size=8, conditions={"z": 1})
    write_report([few], tmp_path / "paper.html")  # needs no folder
    assert (tmp_path / "paper_assets" / "figure1.tif").exists()
    assert (tmp_path / "paper_assets-01234567" / "figure1.tif").exists()


def test_what_an_earlier_page_had_beside_it_is_replaced(tmp_path):
    run = make_run(tmp_path / "run", 301, size=8, conditions={"z": 1})
    write_report([run], tmp_path / "page.html")
    (first,) = tmp_path.glob("page_assets-*")
    write_report([run], tmp_path / "page.html")
    (second,) = tmp_path.glob("page_assets-*")
    assert second != first
    (second / "mine.png").touch()
    write_report([make_run(tmp_path / "few", 3, size=8)], tmp_path / "page.html")
    assert [path.name for path in second.iterdir()] == ["mine.png"]


def test_an_old_page_and_its_images_stay_until_the_new_page_is_there(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", 301, size=8, conditions={"z": 1})
    page = write_report([run], tmp_path / "page.html")
    before = {path: path.read_bytes() for path in tmp_path.glob("page*/*")}
    before[page] = page.read_bytes()
    assert len(before) > 603
    for name in ("_exchange", "write_text"):  # neither the folder nor the page can be replaced

        def fail(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(swap if name == "_exchange" else page_module, name, fail)
            with pytest.raises(KeyboardInterrupt):
                write_report([run], page)
        assert all(path.read_bytes() == content for path, content in before.items())
    write_report([run], page)
    (folder,) = tmp_path.glob("page_assets-*")
    assert folder.name in page.read_text()


def test_a_file_that_is_no_page_of_ours_is_not_replaced(tmp_path):
    run = make_run(tmp_path / "run", 3, size=8, conditions={"z": 1})
    page = write_report([run], tmp_path / "page.html")
    write_report([run], page)  # our own is
    (tmp_path / "link.html").symlink_to(page)
    (tmp_path / "notes.html").write_text("<p>Mine.</p>")
    other = page.read_text().replace('content="vox2pix ', 'content="a word processor ')
    (tmp_path / "page.html").write_text(other)
    (tmp_path / "folder.html").mkdir()
    for name in ("page.html", "notes.html", "folder.html", "link.html", "run/metrics.json"):
        before = (tmp_path / name).read_bytes() if (tmp_path / name).is_file() else None
        with pytest.raises(UserError, match=f"{name} is there and is not a page"):
            write_report([run], tmp_path / name)
        assert before is None or (tmp_path / name).read_bytes() == before


def test_the_turning_cortex_is_found_from_a_page_elsewhere(tmp_path):
    run = make_run(tmp_path / "a run", 3, size=8)
    figures = run / "encoding" / "figures"
    figures.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(figures / "flat.png")
    (figures / "turn it.html").write_text("<html>")
    told = {"name": "flat", "title": "t", "alt": "a", "png": "figures/flat.png"}
    write_json(run / "encoding" / "figures.json", [told | {"html": "figures/turn it.html"}])
    for out in (None, tmp_path / "elsewhere" / "page.html"):
        page = write_report([run], out)
        links = [a["href"] for a in Page(page.read_text()).all("a") if "turn" in a["href"]]
        assert [(page.parent / unquote(link)).resolve() for link in links] == [
            (figures / "turn it.html").resolve()
        ]
