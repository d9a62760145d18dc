"""The documentation is held against the code: commands, settings, links, the worked example."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w
import typer

from vox2pix.cli import app
from vox2pix.config import Config, load_config, shipped_experiments
from vox2pix.evaluation import PROTOCOLS, WEIGHTS, MetricRecord

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")]


def blocks(page, *kinds):
    """Return the code blocks of some kinds in a page."""
    fences = re.findall(r"^```([\w-]+)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in fences if kind in kinds]


def shown_commands():
    """Return (page, words) of each vox2pix command that a page shows."""
    lines = [
        (page, shlex.split(line.removeprefix("$ "), comments=True))
        for page in PAGES
        for block in blocks(page, "console", "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [(page, words) for page, words in lines if words and Path(words[0]).name == "vox2pix"]


def parse(words):
    """Parse a command line as vox2pix would, without running it."""
    command, words = typer.main.get_command(app), list(words[1:])
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"no command {words[:1]}"
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    labels = re.findall(r"^\(([\w-]+)\)=$", page.read_text(), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return {*slugs, *labels}


@pytest.fixture
def generated(monkeypatch):
    """Return the module that makes the generated parts."""
    monkeypatch.syspath_prepend(str(DOCS))
    import generated

    yield generated
    sys.modules.pop("generated")


@pytest.mark.parametrize(
    ("page", "words"),
    shown_commands(),
    ids=lambda v: v.stem if isinstance(v, Path) else " ".join(v),
)
def test_every_command_shown_exists(page, words):
    parse(words)


def test_pages_show_commands_and_a_wrong_one_is_noticed():
    assert {words[1] for _, words in shown_commands()} >= {"run", "plan", "phantom"}
    for wrong in ("vox2pix rum x.toml", "vox2pix run x.toml --nowhere y", "vox2pix run"):
        with pytest.raises(Exception, match=r"rum|nowhere|[Mm]issing"):
            parse(wrong.split())


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=lambda p: p.stem)
def test_every_setting_shown_exists(page, tmp_path):
    for number, block in enumerate(blocks(page, "toml")):
        shown = tomllib.loads(block)
        shown = {"name": "shown", "data": {"source": "phantom"}} | shown
        path = tmp_path / f"{number}.toml"
        path.write_text(tomli_w.dumps(shown))
        assert load_config(path).name == shown["name"]


def test_the_nsd_experiment_shown_is_the_one_shipped(tmp_path):
    path = tmp_path / "nsd.toml"
    path.write_text(blocks(DOCS / "nsd.md", "toml")[0])
    shown, shipped = load_config(path), load_config(shipped_experiments()["nsd"])
    assert shown.model_dump(exclude={"data": {"path"}}) == shipped.model_dump(
        exclude={"data": {"path"}}
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_resolve(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.is_file(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def test_every_page_is_in_a_table_of_contents():
    listed = " ".join(blocks_of_contents())
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert pages <= set(listed.split())


def blocks_of_contents():
    return re.findall(r"^```{toctree}\n(.*?)^```", (DOCS / "index.md").read_text(), re.M | re.S)


def test_every_setting_is_described_and_listed(generated):
    page = generated.fill((DOCS / "configuration.md").read_text())
    for name, table in generated.tables(Config):
        assert f"## `[{name}]`" in page or not name
        for key, setting in generated.plain_settings(table).items():
            assert setting.description, f"{name}.{key} has no description"
            assert re.search(
                rf"^\| `{key}` \|.*\| {re.escape(setting.description)} \|$", page, re.M
            )


def test_every_command_is_listed_with_its_options(generated):
    page = generated.fill((DOCS / "cli.md").read_text())
    for name, command in typer.main.get_command(app).commands.items():
        assert f"## `vox2pix {name}`" in page
        for parameter in command.params:
            for word in [parameter.metavar] if parameter.metavar else parameter.opts:
                assert word in page


def test_every_metric_and_its_weights_are_listed(generated):
    page = generated.fill((DOCS / "metrics.md").read_text())
    for protocol in PROTOCOLS.values():
        section = re.search(rf"^### [^\n]*`{protocol.name}`.*?(?=^#|\Z)", page, re.M | re.S)[0]
        for metric in protocol.metrics:
            row = re.search(rf"^\| {re.escape(metric.name)} \|.*$", section, re.M)[0]
            assert all(word in row for word in re.split(r"[:@]", metric.network or ""))
            assert f"| {metric.size} px |" in row or not metric.size
    assert all(f"| [`{row.file}`]({row.source}) |" in page for row in WEIGHTS)


def test_the_house_shown_is_the_house_checked(generated):
    page = generated.fill((DOCS / "design.md").read_text())
    rooms = {p.stem for p in (ROOT / "src/vox2pix").iterdir() if not p.name.startswith("_")}
    assert all(f"| `{room}` |" in page for room in rooms)
    assert "\ncli\npipeline\nreport\n" in page


def test_the_worked_example_makes_sound_data(tmp_path, monkeypatch):
    from vox2pix.data import check

    monkeypatch.chdir(tmp_path)
    write, *read = blocks(DOCS / "own-data.md", "python")
    names = {}
    exec(write, names)
    found = check("my-data")
    assert found.faults == ()
    assert found.test.n_stimuli == 12
    assert set(found.rois) == {"V1", "V2", "all"}
    for block in read:
        exec(block, names)
    assert names["predicted"].shape == (12, 8 * 8 * 3)
    (tmp_path / "my-data.toml").write_text(blocks(DOCS / "own-data.md", "toml")[0])
    assert load_config(tmp_path / "my-data.toml").data.path == tmp_path / "my-data"


def test_the_numbers_of_a_run_are_read_as_the_quickstart_says(tmp_path, monkeypatch, capsys):
    records = [
        MetricRecord(
            subject="phantom",
            condition=condition,
            metric=metric,
            direction=direction,
            protocol="default",
            samples=f"{joined} of {n}",
            value=n / 10 + (joined == "best"),
            ci_low=0,
            ci_high=2,
            chance=0.5,
            n_stimuli=100,
        ).model_dump()
        for condition, n in (("z-decode", 1), ("z", 2), ("c", 2), ("z+c", 2))
        for joined in (("mean", "best") if n > 1 else ("mean",))
        for metric, directions in (
            ("pixcorr", (None,)),
            ("two-way phantom", ("original", "reconstruction")),
        )
        for direction in directions
    ]
    path = tmp_path / "runs/demo/metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(records))
    monkeypatch.chdir(tmp_path)
    (shown,) = blocks(DOCS / "quickstart.md", "python")
    exec(shown, {})
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["z-decode"] == ["0.1"] * 3
    assert rows["z"] == rows["c"] == rows["z+c"] == ["0.2"] * 3


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "CITATION.cff").read_text()
    assert text.startswith("cff-version: 1.2.0\n")
    assert f"\nversion: {project['version']}\n" in text
    assert f"## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text()
