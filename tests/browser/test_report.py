"""The report in a real browser, opened from disk."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from report.folders import make_run
from vox2pix.report import write_report
from vox2pix.store import write_json

DARK = "rgb(21, 23, 26)"
EVIL = "<script>alert(1)</script>"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Where screenshots are kept for a person to look at."""
    kept = os.environ.get("VOX2PIX_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of a run with everything in it, captions that would run as scripts among it."""
    captions = [f"a thing number {i}" + " at sea" * (i % 4 == 0) for i in range(20)]
    captions[3] = EVIL
    run = make_run(tmp_path_factory.mktemp("runs") / "a 'run' #1", 20, captions=captions)
    (run / "audit").mkdir()
    Image.new("RGB", (300, 120), "white").save(run / "audit" / "collapse.png")
    verdicts = {"collapse": "pass", "copies": "warn", "null_control": "fail"}
    write_json(
        run / "audit.json",
        [
            {
                "name": name,
                "verdict": verdict,
                "sentence": f"What {name} found.",
                "figure": "audit/collapse.png",
                "alt": "An empty figure",
            }
            for name, verdict in verdicts.items()
        ],
    )
    return write_report([run])


class Opened:
    """A page that was opened, and what it complained of or asked for."""

    def __init__(self, browser, path: Path, **settings):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **settings)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(path.as_uri())

    def shown(self) -> list[str]:
        """Return the stimuli whose rows are shown, in their order."""
        return self.page.eval_on_selector_all(
            ".row:not([hidden]) .open", "all => all.map(e => e.firstChild.textContent)"
        )

    def choose(self, name: str, value: str) -> None:
        self.page.select_option(f"#controls [name={name}]", value)


@pytest.fixture
def opened(browser, report):
    made = Opened(browser, report)
    yield made
    made.context.close()


def every(selector: str, condition: str) -> str:
    return f"[...document.querySelectorAll({selector!r})].every(e => {condition})"


def wait_until(page, expression: str) -> None:
    """Wait for an expression to hold; the page's policy forbids what Playwright does for that."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never held: {expression}")


def shoot(page, path: Path) -> None:
    """Keep an image of the whole page, its lazy parts drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    wait_until(page, every("#rows > :not([hidden]) img", "e.complete"))
    page.screenshot(path=path, full_page=True)


def names(*numbers: int) -> list[str]:
    return [f"{i:05d}" for i in numbers]


def test_it_opens_from_disk_without_complaint_or_network(opened, report, shots):
    opened.page.locator("[data-hover]").scroll_into_view_if_needed()
    opened.page.wait_for_selector(".drawn .main-svg")
    shoot(opened.page, shots / "light.png")
    assert opened.complaints == []
    assert [u for u in opened.requests if not u.startswith(("data:", "blob:"))] == [report.as_uri()]


def test_every_image_that_is_shown_was_decoded(opened):
    opened.page.locator(".row:not([hidden])").last.scroll_into_view_if_needed()
    wait_until(opened.page, every("#rows > :not([hidden]) img", "e.naturalWidth === 32"))


def test_at_first_best_median_and_worst_are_shown(opened):
    # The score of image i is i / 19.
    assert opened.shown() == names(19, 18, 17, 16, 11, 10, 9, 8, 3, 2, 1, 0)
    groups = opened.page.locator(".row:not([hidden]) .group").all_text_contents()
    assert [g for g in groups if g] == ["best", "median", "worst"]


def test_sorting(opened):
    opened.choose("show", "all")
    assert opened.shown() == names(*range(19, 7, -1))
    opened.choose("order", "worst")
    assert opened.shown() == names(*range(12))
    opened.choose("judged", "z")  # the scores of z are those of z+c moved on by one place
    assert opened.shown()[0] == "00001"
    opened.choose("order", "name")
    assert opened.shown() == names(*range(12))
    opened.page.click("#more")
    assert opened.shown() == names(*range(20))


def test_scores_under_the_images_are_those_of_the_chosen_metric(opened):
    score = opened.page.locator(".row[data-image='19'] [data-column='z+c'] .score")
    assert score.text_content() == "100.0\u00a0%"
    opened.choose("metric", "0")
    assert score.text_content() == "1.000"


def test_filtering(opened):
    opened.page.fill("[name=text]", "Number 1")
    opened.choose("show", "all")
    assert opened.shown() == names(*range(19, 9, -1), 1)
    opened.page.fill("[name=text]", "")
    opened.page.click("#controls summary")
    opened.page.fill("[name=low]", "50")
    opened.page.fill("[name=high]", "60")
    assert opened.shown() == names(11, 10)
    assert "2 of 20 test images" in opened.page.text_content("#status")
    opened.page.uncheck("[name=column][value=z]")
    assert not opened.page.locator(".row[data-image='11'] [data-column=z]").is_visible()
    assert opened.page.locator(".row[data-image='11'] [data-column=c]").is_visible()


def test_filtering_by_what_images_show(opened):
    options = opened.page.locator("[name=category] option").all_text_contents()
    assert options == ["anything", "sea (5)"]
    opened.choose("category", "sea")
    assert opened.shown() == names(16, 12, 8, 4, 0)
    assert "5 of 20 test images" in opened.page.text_content("#status")
    opened.choose("category", "")
    assert "20 test images" in opened.page.text_content("#status")


def test_opening_an_image_shows_every_sample_and_the_nearest(opened, shots):
    # The button covers its row, so that a click on an image is one on it.
    opened.page.click(".row[data-image='19'] img >> nth=0", force=True)
    viewer = opened.page.locator("#viewer")
    assert viewer.is_visible()
    assert opened.page.text_content("#viewer-title") == "00019"
    # seen, z-decode, two of z, c and z+c each, ceiling, shuffled; three nearest
    assert viewer.locator("img").count() == 1 + 1 + 6 + 1 + 1 + 3
    assert "train19-0, distance 0.8" in viewer.text_content()
    assert "again, a thing number 19" in viewer.text_content()
    opened.page.screenshot(path=shots / "opened.png")
    assert opened.complaints == []


def test_the_keyboard_is_enough(opened):
    page = opened.page
    page.focus(".row:not([hidden]) .open >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.text_content("#viewer-title") == "00018"
    page.keyboard.press("ArrowRight")
    assert page.text_content("#viewer-title") == "00017"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # the first stays
    assert page.text_content("#viewer-title") == "00019"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    focused = page.evaluate("document.activeElement.closest('.row').dataset.image")
    assert focused == "19"
    outline = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
    assert outline == "solid"


def test_captions_are_text(opened):
    opened.choose("show", "all")
    opened.page.fill("[name=text]", "alert")
    assert opened.shown() == names(3)
    opened.page.click(".row[data-image='3'] .open")
    assert EVIL in opened.page.text_content("#viewer-body")
    assert opened.complaints == []


def test_pointing_at_a_dot_and_clicking_it_opens_its_image(opened):
    page = opened.page
    page.locator("[data-hover]").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn .points .point")
    clicked = "emit('plotly_click', {points: [{pointNumber: 5}]})"
    page.evaluate(f"document.querySelector('.js-plotly-plot').{clicked}")
    assert page.text_content("#viewer-title") == "00005"


def contrast(page, selector: str) -> float:
    """Return the contrast ratio of a text with the page behind it, by WCAG 2.1."""
    return page.evaluate(
        """selector => {
          const light = colour => {
            const c = document.createElement('canvas').getContext('2d');
            c.fillStyle = colour; c.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...c.getImageData(0, 0, 1, 1).data].map(v => v / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ink = light(getComputedStyle(document.querySelector(selector)).color);
          const paper = light(getComputedStyle(document.body).backgroundColor);
          return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        }""",
        selector,
    )


def paper(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_in_light_and_dark(opened, shots, theme):
    page = opened.page
    page.select_option("#theme", theme)
    texts = ["body", ".quiet", ".sidebar a", "section a", ".missing", "td small", ".pass .verdict"]
    texts += [".warn .verdict", ".fail .verdict", ".row .score", ".open"]
    ratios = {text: contrast(page, text) for text in texts}
    assert min(ratios.values()) >= 4.5, ratios
    assert paper(page) == {"light": "rgb(255, 255, 255)", "dark": DARK}[theme]
    shoot(page, shots / f"theme-{theme}.png")


def test_colours_follow_the_system_until_they_are_chosen(browser, report):
    made = Opened(browser, report, color_scheme="dark")
    assert (
        made.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
    )
    made.page.select_option("#theme", "light")
    made.page.reload()
    assert made.page.input_value("#theme") == "light"
    made.context.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(opened, shots):
    opened.page.set_viewport_size({"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
    shoot(opened.page, shots / "narrow.png")


def test_it_prints_without_controls_and_with_all_settings(opened, shots):
    page = opened.page
    page.pdf(path=shots / "print.pdf", format="A4")
    assert (shots / "print.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator(".sidebar").is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.locator("details .settings td").first.is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.row')).breakInside") == "avoid"
    shoot(page, shots / "print.png")


def test_without_script_the_images_are_there(browser, report):
    made = Opened(browser, report, java_script_enabled=False)
    assert made.page.locator(".row img").first.is_visible()
    assert not made.page.locator("#controls").is_visible()
    made.context.close()


def test_a_run_with_little_in_it_opens_too(browser, tmp_path):
    bare = make_run(tmp_path / "bare", 1, conditions={}, has_gallery=False, is_scored=False)
    one = make_run(tmp_path / "one", 1, has_captions=False, conditions={"z": 1, "true-z": 1})
    unscored = make_run(tmp_path / "unscored", 3, is_scored=False)
    for run in (bare, one, unscored):
        made = Opened(browser, write_report([run]))
        assert made.complaints == []
        assert made.page.locator("section").count() == 7
        made.context.close()


def test_images_beside_the_page_are_found(browser, tmp_path):
    run = make_run(tmp_path / "it's many %41", 301, size=26, conditions={"z": 2})
    made = Opened(browser, write_report([run]))
    made.page.click(".row:not([hidden]) .open >> nth=0")
    wait_until(made.page, every("#viewer .set img", "e.naturalWidth === 26"))
    assert made.complaints == []
    made.context.close()


def test_runs_side_by_side(browser, tmp_path, shots):
    runs = [make_run(tmp_path / name, 14) for name in ("first", "second")]
    made = Opened(browser, write_report(runs))
    assert made.shown()[0] == "00013"
    made.page.click(".row:not([hidden]) .open >> nth=0")
    assert made.page.locator("#viewer .samples img").count() > 4
    made.page.keyboard.press("Escape")
    shoot(made.page, shots / "comparison.png")
    assert made.complaints == []
    assert json.loads(made.page.text_content("#gallery-data"))["judged"] == "first z+c"
    made.context.close()
