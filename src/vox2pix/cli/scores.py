"""The commands that score any lab's images, compare what was scored, and pool subjects."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vox2pix.cli.app import app, console, local_folder, quiet_libraries, to_stderr
from vox2pix.cli.bars import Bars
from vox2pix.cli.tables import print_comparison, print_pooled, print_records, print_rows
from vox2pix.cli.terminal import bold, shown

if TYPE_CHECKING:
    from vox2pix.evaluation import Evaluation


Truth = Annotated[Path, typer.Option(help="The images that were seen.")]
Reconstructions = Annotated[Path, typer.Option(help="The images to score.")]
Samples = Annotated[
    str | None, typer.Option(help="Files of several samples, e.g. {id}_{sample}.png.")
]
TruthFiles = Annotated[
    str | None, typer.Option(help="Files of the originals in --truth, e.g. {id}_org.png.")
]
ProtocolName = Annotated[
    str,
    typer.Option(help="default, takagi2023, brain-diffuser, mindeye1, mindeye2 (-antialias)."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(help="Identify and retrieve by this network too; may be repeated."),
]
Captions = Annotated[
    Path | None, typer.Option(help="Decoded captions: CSV of stimulus_id, caption.")
]
References = Annotated[
    Path | None, typer.Option(help="Captions that people wrote, in the same form.")
]
Weights = Annotated[Path | None, typer.Option(help="A folder of networks' weights.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch weights not here.")]
Out = Annotated[
    Path | None, typer.Option(help="The folder to write.", show_default="NAME-evaluation")
]
Published = Annotated[bool, typer.Option("--published", help="Print the published results beside.")]
Device = Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda.")]
Seed = Annotated[int, typer.Option(min=0, help="Of intervals and chance.")]


@app.command()
def evaluate(
    truth: Truth,
    reconstructions: Reconstructions,
    samples: Samples = None,
    truth_files: TruthFiles = None,
    protocol: ProtocolName = "default",
    network: Networks = None,
    captions: Captions = None,
    references: References = None,
    weights: Weights = None,
    download: Download = False,
    out: Out = None,
    published: Published = False,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Score any lab's images by the field's metrics, paired by id.

    Either side is a folder of PNG or JPEG files, or an array in .npy, .npz, .zarr or .pt.
    """
    quiet_libraries()
    from vox2pix.evaluation import evaluate_images, evaluation_source, save_evaluation
    from vox2pix.store import require_ours

    folder = local_folder(out or f"{reconstructions.resolve().stem}-evaluation")
    source = evaluation_source(truth, reconstructions, protocol, truth_files, samples)
    require_ours(folder, "evaluation", source)
    console.say(bold(protocol), f": {shown(reconstructions)} against {shown(truth)}")
    with Bars(to_stderr(), transient=True) as bars:
        evaluation, info = evaluate_images(
            truth,
            reconstructions,
            samples=samples,
            truth_files=truth_files,
            protocol=protocol,
            networks=network or (),
            captions=captions,
            references=references,
            weights=weights,
            download=download,
            device=device,
            seed=seed,
            progress=bars.track,
        )
    save_evaluation(evaluation, folder, info, published)
    _print_evaluation(evaluation, protocol)
    if published:
        _print_published(evaluation)
    console.say("\nTable, scores, settings: ", bold(folder))


def _print_evaluation(evaluation: "Evaluation", protocol: str) -> None:
    """Print notes, one row per metric, and what was not computed."""
    from vox2pix.evaluation import result_rows

    for note in evaluation.notes:
        console.say(f"  {shown(note)}")
    fixed = evaluation.protocol.direction
    other = "reconstruction" if fixed == "original" else "original"
    heads = ("read at", "value", f"fix {other}", "chance")
    joined = list(dict.fromkeys(record.samples for record in evaluation.records))
    print_rows((joined[0], *heads), result_rows(evaluation))
    best = [samples for samples in joined if samples.startswith("best")]
    for samples in best:
        print_rows((samples, *heads), result_rows(evaluation, best=True))
    console.print(
        "Means over images with 95 % intervals; identification and retrieval in per "
        f"cent. {shown(protocol)} fixes the {shown(fixed)}. ↓: lower is better."
        + " The best sample is chosen by the original: an upper bound."
        * bool(best),
        style="dim",
    )
    for reason in dict.fromkeys(evaluation.skipped.values()):
        names = ", ".join(name for name, why in evaluation.skipped.items() if why == reason)
        console.say(("Not computed", "yellow"), f": {shown(names)}: {shown(reason)}.")


def _print_published(evaluation: "Evaluation") -> None:
    """Print the published results of the same protocol, and what differs from them."""
    from vox2pix.evaluation import published_notes, published_rows

    heads = ("", "Pix", "SSIM", "Alex2", "Alex5", "Incep", "CLIP", "Eff ↓", "SwAV ↓")
    rows = published_rows(evaluation)
    if rows:
        print_rows(heads, rows)
    for note in published_notes(evaluation):
        console.print(shown(note), style="dim")


@app.command()
def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, or evaluations, to compare.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.", show_default="NAMES-comparison")
    ] = None,
) -> None:
    """Compare runs, or sets of reconstructions, with the first, image by image."""
    quiet_libraries()
    from vox2pix.places import distinct_names
    from vox2pix.report import (
        compare_folders,
        comparison_note,
        comparison_source,
        difference_records,
        in_words,
    )
    from vox2pix.store import require_ours, swapped_in, write_json, write_table

    names = distinct_names(folders)
    folder = local_folder(out or "-".join([*names, "comparison"]).replace("/", "-"))
    source = comparison_source(folders)
    require_ours(folder, "comparison", source)
    rows = compare_folders(folders)
    records = difference_records(rows, names)
    with swapped_in(folder, "comparison", source=source) as new:
        write_json(new / "comparison.json", records)
        write_table(new / "comparison.csv", records)
    print_comparison(names, in_words(rows, ""), rows[0].comparisons[0].n_stimuli)
    note = comparison_note(folders)
    if note:
        console.print(shown(note), style="dim")
    console.say("\nDifferences: ", bold(folder))


@app.command()
def pool(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, one of each subject.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("pooled.json"),
) -> None:
    """Average over subjects, with the interval for other subjects."""
    quiet_libraries()
    from vox2pix.report import is_pooled, pool_folders
    from vox2pix.store import require_our_file, write_json

    require_our_file(out, is_pooled, "a file of `vox2pix pool`")
    records = [record.model_dump() for record in pool_folders(folders)]
    write_json(out, records)
    retrieval = [record for record in records if record["metric"].startswith("top-")]
    drawn = [record for record in records if record not in retrieval]
    one_condition = len({record["condition"] for record in drawn}) == 1
    print_pooled(drawn) if one_condition else print_records(drawn)
    if retrieval:
        print_records(retrieval, "retrieval")
    subjects = records[0]["subject"].split("+")
    console.print(
        f"Means over {len(subjects)} subjects ({shown(', '.join(subjects))}) with 95 % t intervals "
        "for the population of subjects.",
        style="dim",
    )
    console.say("\nPooled: ", bold(out.resolve()))
