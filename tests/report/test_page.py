import base64
import json
import shlex
from html.parser import HTMLParser
from io import BytesIO
from shutil import rmtree

import numpy as np
import pytest
from PIL import Image

from report.folders import KEY, make_run
from vox2pix.evaluation import PUBLISHED
from vox2pix.report import write_report
from vox2pix.store import ShardedArray, write_json

EVIL = "<script>alert(1)</script> \"quoted\" & 'so'"


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words, self.scripts = [], [], {}
        self._open = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._open = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split()).replace("\u00a0", " ")

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts["gallery-data"])


def page_of(*runs, out=None) -> Page:
    return Page(write_report(runs, out).read_text())


@pytest.fixture(autouse=True)
def figures_are_not_drawn(monkeypatch):
    """Drawing takes most of a page's time; the finished run's page has its figures."""
    for name in ("scores_figure", "decoding_figure", "save_figure"):
        monkeypatch.setattr(f"vox2pix.report.page.{name}", lambda *arguments: "<svg></svg>")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "finished")
    return run, page_of(run)


def test_the_page_says_what_was_done_and_how_well(finished):
    _, page = finished
    assert "What subj01 saw was drawn from responses of a simulated subject" in page.text
    assert "in 50.0 % of all pairs (95 % interval 45.0 to 55.0 %; chance 50.0 %)" in page.text
    assert "over 14 test images; with shuffled responses 45.0 %" in page.text
    assert "from the true features, the ceiling, 45.0 %" in page.text


def test_sections_come_in_order_and_the_sidebar_leads_to_each(finished):
    _, page = finished
    ids = [attributes["id"] for attributes in page.all("section")]
    assert ids == ["summary", "gallery", "numbers", "trust", "data", "brain", "made"]
    links = [a["href"][1:] for a in page.all("a") if a.get("href", "").startswith("#")]
    assert [link for link in links if link in ids][: len(ids)] == ids


def test_published_rows_of_another_protocol_do_not_stand_beside_a_run(finished, tmp_path):
    page = page_of(make_run(tmp_path / "nsd", 3, dataset="nsd"))
    for row in PUBLISHED:
        assert f"{row.values[2]:.1f} %" not in page.text  # AlexNet(2)
    assert "--protocol mindeye2 --published" in page.text
    assert "Published numbers" not in finished[1].text


def test_nothing_is_loaded_from_elsewhere(finished):
    _, page = finished
    addresses = [a[k] for _, a in page.tags for k in ("src", "href") if a.get(k)]
    outside = [each for each in addresses if not each.startswith(("data:", "#"))]
    assert outside == []
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http:" not in policy


def test_every_image_in_the_page_is_the_one_of_the_run(finished):
    run, page = finished
    drawn = ShardedArray.existing(run / "images" / f"z+c-{KEY}").read()
    seen = ShardedArray.existing(run / "gallery" / "originals").read()
    shown = {a["alt"]: a["src"] for a in page.all("img")}
    for i in (0, 7, 13):
        caption = f"Image {i:05d}, a thing number {i}"
        first = decoded(shown[f"{caption}: z + c, decoded z and c"])
        assert np.abs(first - drawn[i, 0].astype(int)).mean() < 10
        assert np.abs(decoded(shown[f"{caption}: seen, the original"]) - seen[i]).mean() < 10
        second = decoded(page.data["images"][i]["more"]["z+c"][0])
        assert np.abs(second - drawn[i, 1].astype(int)).mean() < 10


def decoded(url: str) -> np.ndarray:
    image = Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(image.convert("RGB")).astype(int)


def test_small_images_are_kept_exactly(tmp_path):
    run = make_run(tmp_path / "small", 3, size=10)
    page = page_of(run)
    drawn = ShardedArray.existing(run / "images" / f"z+c-{KEY}").read()
    url = page.data["images"][1]["more"]["z+c"][0]
    np.testing.assert_array_equal(decoded(url), drawn[1, 1])


def test_scores_and_nearest_images_are_those_of_the_run(finished):
    _, page = finished
    data = page.data
    assert data["metrics"][data["metric"]]["label"] == "Identification (phantom), original fixed"
    assert data["scores"][0]["z+c"] == [round(i / 13, 4) for i in range(14)]
    distances = np.linspace(0.1, 0.9, 42).reshape(14, 3)
    for i, image in enumerate(data["images"]):
        assert [each["id"] for each in image["nearest"]] == [f"train{i}-{j}" for j in range(3)]
        np.testing.assert_allclose(
            [e["distance"] for e in image["nearest"]], distances[i], atol=1e-4
        )


def test_every_record_stands_in_the_numbers(finished):
    run, page = finished
    for record in json.loads((run / "metrics.json").read_text()):
        value = record["value"]
        text = f"{100 * value:.1f} %" if record["direction"] else f"{value:.3f}"
        assert text in page.text


def test_the_best_of_several_samples_stands_under_their_mean_and_is_called_so(finished):
    _, page = finished
    assert "z + c decoded z and c 0.500" in page.text
    assert "z + c, best of 2 chosen by the original: an upper bound 0.570" in page.text
    assert "shuffled, best" not in page.text


def test_retrieval_stands_in_a_table_of_its_own(tmp_path):
    run = make_run(tmp_path / "run", 5)
    records = json.loads((run / "metrics.json").read_text())
    found = {"condition": "decoded c", "metric": "top-5", "direction": "original"}
    found |= {"value": 0.321, "chance": 0.0167, "samples": "mean of 1"}
    write_json(run / "metrics.json", [*records, records[0] | found])
    page = page_of(run)
    assert "decoded c compared with the true c of all test images 32.1 %" in page.text
    assert "chance an image taken at random 1.7 %" in page.text
    assert "Retrieval" not in page_of(make_run(tmp_path / "without", 5)).text


def test_the_retrieval_baseline_stands_among_the_controls(tmp_path):
    conditions = {"z+c": 2, "shuffled": 1, "retrieval": 1}
    run = make_run(tmp_path / "run", 5, conditions=conditions)
    rmtree(run / "images" / f"retrieval-{KEY}")  # it is scored, not drawn
    page = page_of(run)
    assert "the nearest training image in its place 45.0 %" in page.text
    assert "controls chance z + c as images of other stimuli 0.100 50.0 %" in page.text
    assert "retrieval the nearest training image, no drawing 0.450" in page.text
    assert "was not scored" not in page.text


def test_all_text_from_data_is_escaped(tmp_path):
    run = make_run(tmp_path / "evil", 3, captions=[EVIL] * 3, ids=['a"b', "<i>c", "d'e"])
    write_json(
        run / "audit.json",
        [{"name": EVIL, "verdict": "fail", "sentence": EVIL, "figure": None, "alt": None}],
    )
    html = write_report([run]).read_text()
    assert "<script>alert" not in html
    assert "<i>c" not in html
    page = Page(html)
    assert "alert(1)" in page.text
    assert page.data["images"][0]["captions"][0] == EVIL
    assert [image["id"] for image in page.data["images"]] == ['a"b', "<i>c", "d'e"]


def test_quotes_in_names_of_folder_and_files(tmp_path):
    run = make_run(tmp_path / "run", 2)
    odd = run.rename(tmp_path / 'it\'s a "run" <b>')
    (odd / "audit").mkdir()
    name = "fig\"ure'<b>.png"
    Image.new("RGB", (4, 4)).save(odd / "audit" / name)
    write_json(
        odd / "audit.json",
        [{"name": "a", "verdict": "pass", "sentence": "s", "figure": f"audit/{name}", "alt": "x"}],
    )
    html = write_report([odd]).read_text()
    assert '"run" <b>' not in html
    assert f"vox2pix report {shlex.quote(odd.name + '-again')}" in Page(html).text
    assert len([a for a in Page(html).all("img") if a["alt"] == "x"]) == 1


def test_audits_stand_with_verdict_sentence_and_figure(tmp_path):
    run = make_run(tmp_path / "run", 2)
    (run / "audit").mkdir()
    Image.new("RGB", (4, 4)).save(run / "audit" / "collapse.png")
    records = [
        {"name": "collapse", "verdict": "pass", "sentence": "Rank is kept.", "value": 1.0,
         "figure": "audit/collapse.png", "alt": "A spectrum"},
        {"name": "copies", "verdict": "warn", "sentence": "Some are near.", "value": 0.2},
        {"name": "null_control", "verdict": "warn", "sentence": "Hm.", "value": 0.2},
        {"name": "ceiling", "verdict": None, "sentence": "there are no scores"},
    ]  # fmt: skip
    write_json(run / "audit.json", records)
    page = page_of(run)
    assert "Of 4 audits, 1 holds, 2 are uncertain and 1 could not be computed." in page.text
    assert "Collapse holds Rank is kept." in page.text
    assert "Null control uncertain" in page.text
    assert "Ceiling not computed there are no scores" in page.text
    assert [a["alt"] for a in page.all("img") if a["alt"] == "A spectrum"]


def test_files_outside_the_run_folder_are_not_shown(tmp_path):
    run = make_run(tmp_path / "run", 2)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    write_json(
        run / "audit.json",
        [{"name": "a", "verdict": "pass", "sentence": "s", "figure": "../secret.png", "alt": "X"}],
    )
    assert not [a for a in page_of(run).all("img") if a["alt"] == "X"]


def test_encoding_figures_and_tables_stand_in_the_page(tmp_path):
    run = make_run(tmp_path / "run", 2)
    folder = run / "encoding"
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "figures" / "flat.png")
    write_json(
        folder / "figures.json",
        [{"name": "flat", "title": "Flat maps", "alt": "Two maps", "png": "figures/flat.png",
          "svg": "figures/flat.svg"}],
    )  # fmt: skip
    rows = "".join(f"z,roi{i},0.12345\n" for i in range(50))
    (folder / "roi_summary.csv").write_text(f"latent,roi,mean_r\n{rows}")
    page = page_of(run)
    assert "Flat maps" in page.text
    assert "0.123" in page.text
    assert "10 more rows in encoding/roi_summary.csv" in page.text
    assert "no encoding maps" not in page.text


@pytest.mark.parametrize("file", ["figures/cortex_z@1.html", "../../away.html", "figures/no.html"])
def test_a_cortex_to_turn_is_linked_where_it_is_there(tmp_path, file):
    run = make_run(tmp_path / "run", 2)
    folder = run / "encoding"
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "figures" / "flat.png")
    for there in (folder / "figures" / "cortex_z@1.html", tmp_path / "away.html"):
        there.write_text("a page")
    told = {"name": "flat", "title": "Flat", "alt": "A map", "png": "figures/flat.png"}
    write_json(folder / "figures.json", [told | {"html": file}])
    links = [a["href"] for a in page_of(run).all("a") if "encoding" in a["href"]]
    links = [link for link in links if link.endswith(".html")]
    expected = ["encoding/figures/cortex_z%401.html"] if "cortex" in file else []
    assert links == expected


def test_a_run_without_encoding_says_so(finished):
    assert "There are no encoding maps" in finished[1].text
    assert "vox2pix encode finished/config.toml" in finished[1].text


def test_a_run_without_captions_says_so(tmp_path):
    conditions = {"z": 2, "true-z": 1}
    page = page_of(make_run(tmp_path / "run", 3, has_captions=False, conditions=conditions))
    assert "The data have no captions" in page.text
    assert page.data["judged"] == "z"
    assert all(image["captions"] == [] for image in page.data["images"])


def test_a_run_without_a_gallery_shows_what_was_drawn(tmp_path):
    page = page_of(make_run(tmp_path / "run", 3, has_gallery=False))
    assert "What was seen, captions and nearest training images are not in the run" in page.text
    assert page.data["columns"][0]["key"] == "z-decode"


def test_one_test_image(tmp_path):
    page = page_of(make_run(tmp_path / "run", 1))
    assert len(page.data["images"]) == 1
    assert "over 1 test image;" in page.text


def test_a_run_that_was_stopped_while_drawing(tmp_path):
    run = make_run(tmp_path / "run", 7, is_scored=False)
    (run / "images" / f"z+c-{KEY}" / "done" / "00001").unlink()
    page = page_of(run)
    assert "There is no result yet" in page.text
    assert "Some images are not drawn yet" in page.text
    assert "The run has not been scored yet" in page.text
    assert page.text.count("not drawn yet z + c") == 2  # of images 5 and 6
    assert page.data["images"][0]["more"]["z+c"]
    assert not page.data["images"][6]["more"]["z+c"]


def test_a_run_of_which_only_the_settings_are_there(tmp_path):
    run = make_run(tmp_path / "run", 1, conditions={}, has_gallery=False, is_scored=False)
    page = page_of(run)
    assert "No image has been drawn yet" in page.text
    assert "No decoder was fitted yet" in page.text


def test_images_of_earlier_settings_are_left_out(tmp_path):
    run = make_run(tmp_path / "run", 3, conditions={"z": 1})
    make_run(tmp_path / "old", 2, conditions={"c": 1})
    (tmp_path / "old" / "images" / f"c-{KEY}").rename(run / "images" / "c-00000000")
    assert [c["key"] for c in page_of(run).data["columns"]] == ["seen", "z"]


def test_many_images_lie_in_a_folder_beside_the_page(tmp_path):
    run = make_run(tmp_path / "run", 301, size=8, conditions={"z": 2})
    page = page_of(run)
    sources = [a["src"] for a in page.all("img") if "src" in a]
    assert len(sources) == 602
    (folder,) = run.glob("report_assets-*")
    assert all(source.startswith(f"{folder.name}/") for source in sources)
    assert all((run / source).is_file() for source in sources)
    assert all(a["loading"] == "lazy" for a in page.all("img"))
    assert (run / page.data["images"][300]["more"]["z"][0]).is_file()


def test_figures_are_saved_as_files_too(finished):
    run, _ = finished
    for name in ("scores", "decoding"):
        assert (run / "figures" / f"{name}.svg").read_text().startswith("<?xml")
        Image.open(run / "figures" / f"{name}.png").verify()


def test_the_run_folder_becomes_a_bids_derivative(finished):
    told = json.loads((finished[0] / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert {"Name", "BIDSVersion", "GeneratedBy"} <= set(told)
    assert told["GeneratedBy"][0]["Name"] == "vox2pix"


def test_statements_about_data_come_from_what_was_read(tmp_path):
    settings = {"data": {"source": "nsd", "path": str(tmp_path), "subject": 3}}
    notes = ("The data are simulated by vox2pix phantom; no person was measured.",)
    run = make_run(tmp_path / "a", 3, is_scored=False, subject="sub-01", notes=notes, **settings)
    page = page_of(run)
    assert "What sub-01 saw was drawn from responses of a simulated subject" in page.text
    assert notes[0] in page.text
    for absent in ("subj03", "Natural Scenes Dataset", "NSD is free for", "Brain-Diffuser"):
        assert absent not in page.text
    assert "The statistics that the phantom is calibrated to." in page.text
    page = page_of(make_run(tmp_path / "b", 3, dataset="nsd"))
    for present in ("of the Natural Scenes Dataset", "NSD is free for"):
        assert present in page.text
    assert "Nothing was coerced, dropped or defaulted." in page.text


def test_a_run_that_read_no_data_states_nothing_about_them(tmp_path):
    run = make_run(tmp_path / "a", 3, is_scored=False)
    (run / "data.json").unlink()
    page = page_of(run)
    assert "The data of this run have not been read yet." in page.text
    assert "subj01" not in page.text


def test_a_note_names_the_file_but_not_where_it_is(tmp_path):
    notes = ("/home/private-name/nsd/roi/streams.nii.gz holds 3 NaN values.",)
    page = page_of(make_run(tmp_path / "a", 3, is_scored=False, notes=notes))
    assert "streams.nii.gz holds 3 NaN values." in page.text
    assert "private-name" not in page.text


def test_where_data_lie_is_not_told(tmp_path):
    data = {"source": "folder", "path": str(tmp_path / "private" / "mine")}
    html = write_report([make_run(tmp_path / "run", 2, data=data)]).read_text()
    assert "mine" in html
    assert "private" not in html
