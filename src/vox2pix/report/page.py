"""The page: one HTML file that opens from disk and loads nothing."""

import gzip
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from vox2pix.errors import UserError
from vox2pix.report import origin
from vox2pix.report._gallery_view import (
    Column,
    GalleryView,
    columns_of,
    gallery_view,
    seen_column,
)
from vox2pix.report.assets import Assets, assets_of, remove_unused
from vox2pix.report.brain import decoders, encoding_figures, encoding_tables
from vox2pix.report.comparison import (
    comparison_rows,
    differing_settings,
    not_compared,
    shared_stimuli,
)
from vox2pix.report.contents import RunContents, read_run
from vox2pix.report.figures import decoding_figure, hover_figure, save_figure, scores_figure
from vox2pix.report.labels import (
    CEILING,
    DECODED,
    RETRIEVAL,
    SEEN,
    Label,
    counted,
    in_group,
    label,
    listed,
)
from vox2pix.report.numbers import (
    headline,
    numbers_table,
    retrieval_table,
)
from vox2pix.report.rendering import render
from vox2pix.report.trust import audits, verdict_counts
from vox2pix.store import require_our_file, swapped_in, write_json, write_text

_MARK, _HEAD = b'<meta name="generator" content="vox2pix ', 2000  # the mark, and bytes it is in
_IN_PAGE = 300  # test images: so many a single file holds
_SECTIONS = (
    ("summary", "Summary"),
    ("gallery", "Gallery"),
    ("numbers", "Numbers"),
    ("trust", "Can it be trusted"),
    ("data", "Notes on the data"),
    ("brain", "Brain"),
    ("made", "How it was made"),
)
_COMPARED = (
    ("summary", "Summary"),
    ("gallery", "Gallery"),
    ("differences", "Differences"),
    ("settings", "Settings that differ"),
)


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of a run, or of several runs side by side.

    The page is one file for up to 300 test images; for more, images are in a folder beside
    it, named after it. A run that is not finished gets a page that says what is missing. The page
    of one run comes with its figures as files (``RUN/figures/``) and a
    ``dataset_description.json`` that makes the run folder a BIDS derivative.

    Parameters
    ----------
    runs : sequence of Path
        Run folders. With more than one, each is compared with the first.
    out : Path, optional
        Where the page shall appear: ``RUN/report.html`` for one run, and for several
        ``compare-RUN1-RUN2.html`` beside the first, if absent.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        If a folder is no run folder, a file in it is damaged, one is named twice, or there is a
        file where the page would be that is no page of ours.
    """
    if not runs:
        raise UserError("A report needs a run folder. Name one that `vox2pix run` made.")
    resolved = [run.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        raise UserError("A run is named twice. Name each run to be compared once.")
    read = [read_run(run) for run in resolved]
    if len(read) == 1:
        target = (out or resolved[0] / "report.html").absolute()
    else:
        names = "-".join(run.name for run in resolved)
        target = (out or resolved[0].parent / f"compare-{names}.html").absolute()
    if target != resolved[0] / "report.html":
        require_our_file(target, _is_page, "a page of `vox2pix report`")
    shown = read[0].stimulus_ids if len(read) == 1 else shared_stimuli(read)
    with assets_of(target, len(shown) > _IN_PAGE) as assets:
        if len(read) == 1:
            html = _report(read[0], target, assets)
            write_json(resolved[0] / "dataset_description.json", _bids(read[0]))
        else:
            html = _comparison(read, assets)
    write_text(target, html)
    remove_unused(target, assets.name)
    return target


def _is_page(path: Path) -> bool:
    """Tell by its generator mark whether a file is a page of ours."""
    with path.open("rb") as file:
        return _MARK in file.read(_HEAD)


# --- one run -------------------------------------------------------------------------------------


def _report(run: RunContents, target: Path, assets: Assets) -> str:
    """Fill in the page of one run."""
    columns = columns_of(run)
    view = None
    if columns and run.stimulus_ids:
        view = gallery_view(
            run.stimulus_ids,
            columns,
            run.scores,
            assets,
            judged=run.judged or SEEN,
            captions_of=run,
            protocol=run.config.protocol,
        )
    return render(
        "report.html.j2",
        assets,
        _SECTIONS,
        _title(run),
        done=origin.what_was_done(run),
        well=headline(run),
        remedy=f"`{origin.resume(run)}` resumes the run.",
        encode=origin.resume(run, "encode"),
        view=view,
        gallery_note=_gallery_note(assets),
        gallery_missing=_gallery_missing(run, view),
        numbers=numbers_table(run),
        retrieval=retrieval_table(run),
        n_test=counted(max((r.n_stimuli for r in run.records), default=0), "test image"),
        no_retrieval=_retrieval_missing(run),
        published_note=_published_note(run),
        verdicts=verdict_counts(run.audits),
        audits=audits(run, assets),
        encoding=encoding_figures(run, assets, target.parent),
        encoding_tables=encoding_tables(run),
        decoders=decoders(run),
        stages=origin.stages(run),
        machine=origin.machine(run),
        revision=origin.machine(run).get("git_revision"),
        settings=origin.settings(run.config),
        hashes=origin.hashes(run),
        commands=origin.commands(run),
        licences=origin.licences(run),
        data_notes=origin.data_notes(run),
        data_facts=origin.data_facts(run),
        citations=origin.citations(run),
        **_figures(run, view),
    )


def _figures(run: RunContents, view: GalleryView | None) -> dict[str, Any]:
    """Draw and save the report's own figures."""
    if not run.decoded_r and (view is None or not view.metrics):
        return dict.fromkeys(("scores_svg", "decoding_svg", "hover", "plotly"), "")
    with swapped_in(run.path / "figures", "report") as folder:
        return _drawn_into(folder, run, view)


def _drawn_into(folder: Path, run: RunContents, view: GalleryView | None) -> dict[str, Any]:
    drawn: dict[str, Any] = {"scores_svg": "", "decoding_svg": "", "hover": "", "plotly": ""}
    if view is not None and view.metrics:
        scores = view.data["scores"]
        title = "Scores of every test image under each condition; their means are in the table"
        figure = scores_figure(view.metrics, scores)
        drawn["scores_svg"] = Markup(save_figure(figure, folder / "scores", title))
        names = [
            f"{each['id']} {each['captions'][0] if each['captions'] else ''}".strip()
            for each in view.data["images"]
        ]
        drawn["hover"] = hover_figure(view.metrics, scores, names, view.data["metric"])
        drawn["plotly"] = _plotly()
    if run.decoded_r:
        titles = {
            name: f"{name} from {listed(run.config.decode.rois[name])}" for name in run.decoded_r
        }
        figure = decoding_figure(run.decoded_r, titles)
        title = "Histograms of Pearson r, " + listed(list(titles.values()))
        drawn["decoding_svg"] = Markup(save_figure(figure, folder / "decoding", title))
    return drawn


def _title(run: RunContents) -> str:
    if run.only_encoded:
        return f"{run.config.name}: what in the diffusion model looks like {run.subject}'s brain"
    return f"{run.config.name}: what {run.subject} saw, read from the brain"


def _gallery_note(assets: Assets) -> str:
    return (
        f"Images in this page are at most {assets.side} pixels per side, JPEG at quality 92 "
        "(PNG up to 24 pixels); the exact ones are in the run folder, under images/."
    )


def _gallery_missing(run: RunContents, view: GalleryView | None) -> list[str]:
    """List what the gallery lacks, and the command that makes it."""
    again = origin.resume(run)
    missing = []
    if run.gallery is None:
        missing.append(
            "What was seen, captions and nearest training images are not in the run folder "
            f"(gallery/); `{again}` writes them."
        )
    else:
        if run.gallery.captions is None:
            missing.append("The data have no captions, so that none is shown.")
        if run.gallery.nearest is None:
            missing.append(f"The nearest training images were not computed; `{again}` does it.")
    if not run.drawings:
        missing.append(f"No image has been drawn yet; `{again}` resumes the run.")
    elif view is not None and view.is_incomplete:
        missing.append(f"Some images are not drawn yet; `{again}` resumes the run.")
    elif view is None:
        missing.append(f"Images are drawn but not scored yet; `{again}` scores them.")
    return missing


def _retrieval_missing(run: RunContents) -> str:
    if RETRIEVAL in run.conditions:
        return "Retrieval shows the training image nearest to what was decoded, drawing nothing."
    return "The retrieval baseline (showing the nearest training image) was not scored."


def _published_note(run: RunContents) -> str | None:
    """Return how to compare with published results, of the data that these are of."""
    if run.data is None or run.data.dataset != "nsd":
        return None
    return (
        "No published row was computed as this run scores its images: networks, image sizes and "
        "test images differ. `vox2pix evaluate --protocol mindeye2 --published` computes the "
        "metrics of the field's table and prints its rows beside them."
    )


def _bids(run: RunContents) -> Mapping[str, Any]:
    """Describe the run folder as a BIDS derivative."""
    return {
        "Name": f"vox2pix reconstructions: {run.config.name}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "vox2pix",
                "Version": version("vox2pix"),
                "Description": origin.what_was_done(run),
            }
        ],
        "HowToAcknowledge": "Please cite the papers in ReferencesAndLinks.",
        "ReferencesAndLinks": origin.citations(run),
    }


# --- several runs --------------------------------------------------------------------------------


def _comparison(runs: Sequence[RunContents], assets: Assets) -> str:
    """Fill in the page of several runs."""
    shared = shared_stimuli(runs)
    names = _distinct_names(runs)
    columns, scores = _side_by_side(runs, names, shared)
    judged = next((column.key for column in columns if column.in_row and column.key != SEEN), "")
    view = None
    if shared and judged:
        view = gallery_view(
            shared,
            columns,
            scores,
            assets,
            judged=judged,
            captions_of=next((run for run in runs if run.gallery), runs[0]),
            protocol="",
        )
    summaries = [
        {"name": name, "done": origin.what_was_done(run), "well": headline(run)}
        for name, run in zip(names, runs, strict=True)
    ]
    n_all = listed([f"{len(run.stimulus_ids):,}" for run in runs])
    folders = " ".join(run.path.name for run in runs)
    return render(
        "comparison.html.j2",
        assets,
        _COMPARED,
        listed(names) + ", side by side",
        runs=summaries,
        shared=f"{counted(len(shared), 'test image')} in all runs, which have {n_all}. "
        f"{not_compared(runs)}".strip(),
        view=view,
        gallery_note=_gallery_note(assets),
        gallery_missing=[] if view else ["There is no drawn test image that all runs share."],
        rows=comparison_rows(runs),
        differing=differing_settings(runs),
        command=f"vox2pix report {folders}",
        plotly="",
    )


def _side_by_side(
    runs: Sequence[RunContents], names: Sequence[str], shared: Sequence[str]
) -> tuple[list[Column], pd.DataFrame]:
    """Return a column for each run's images of the condition it is judged by, and its scores."""
    columns: list[Column] = []
    scores = []
    for run, name in zip(runs, names, strict=True):
        place = {stimulus: row for row, stimulus in enumerate(run.stimulus_ids)}
        rows = np.array([place[stimulus] for stimulus in shared], np.intp)
        seen = None if columns else seen_column(run, rows)
        columns += [seen] if seen else []
        drawn = [name for name in run.conditions if name in run.drawings]
        for condition in (*in_group(drawn, DECODED), *in_group(drawn, CEILING)):
            key, shown = f"{name} {condition}", Label(name, label(condition).heading)
            in_row = condition == run.judged
            columns.append(Column(key, shown, run.drawings[condition], rows, in_row))
            own = run.scores[run.scores["condition"] == condition]
            scores.append(own.assign(condition=key))
    return columns, pd.concat(scores) if scores else runs[0].scores


def _distinct_names(runs: Sequence[RunContents]) -> list[str]:
    """Return the runs' names, or their folders' where names repeat, numbered if these do too."""
    names = [run.config.name for run in runs]
    if len(set(names)) < len(names):
        names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{i + 1}: {name}" for i, name in enumerate(names)]
    return names


# --- both ----------------------------------------------------------------------------------------


@cache
def _plotly() -> str:
    """Return plotly's script, packed: the page unpacks it once it is shown."""
    from plotly.offline import get_plotlyjs

    return b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
