"""The command that scores any lab's pictures."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vox2pix.cli.app import app, console, quiet_libraries, shown, to_stderr
from vox2pix.cli.bars import Bars
from vox2pix.cli.tables import print_rows


@app.command()
def evaluate(
    truth: Annotated[Path, typer.Option(help="The pictures that were seen.")],
    reconstructions: Annotated[Path, typer.Option(help="The pictures to score.")],
    samples: Annotated[
        str | None, typer.Option(help="Files of several samples, e.g. {id}_{sample}.png.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="default, brain-diffuser, mindeye1, mindeye2 or takagi2023."),
    ] = "default",
    network: Annotated[
        list[str] | None,
        typer.Option(help="Identify and retrieve by this network too; may be repeated."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A folder of networks' weights.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch weights not here.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.", show_default="NAME-evaluation")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Print the published results beside.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of intervals and chance.")] = 0,
) -> None:
    """Score any lab's pictures by the field's metrics, paired by id.

    Either side is a folder of PNG or JPEG files, or an array in .npy, .npz, .zarr or .pt.
    """
    quiet_libraries()
    from vox2pix.evaluation import evaluate_pictures, published_rows, result_rows, save_evaluation

    folder = (out or Path(f"{reconstructions.resolve().stem}-evaluation")).resolve()
    console.print(
        f"[bold]{protocol}[/bold]: {shown(reconstructions)} against {shown(truth)}",
        soft_wrap=True,
    )
    with Bars(to_stderr(), transient=True) as bars:
        evaluation, told = evaluate_pictures(
            truth,
            reconstructions,
            samples=samples,
            protocol=protocol,
            networks=network or (),
            weights=weights,
            download=download,
            device=device,
            seed=seed,
            progress=bars.track,
        )
    save_evaluation(evaluation, folder, told, published)
    for note in evaluation.notes:
        console.print(f"  {note}", soft_wrap=True, markup=False)
    fixed = evaluation.protocol.direction
    other = "reconstruction" if fixed == "original" else "original"
    heads = ("read at", "value", f"fix {other}", "chance")
    mean, *best = dict.fromkeys(record.samples for record in evaluation.records)
    print_rows((mean, *heads), result_rows(evaluation))
    for samples in best:
        print_rows((samples, *heads), result_rows(evaluation, best=True))
    console.print(
        "Means over pictures with 95 % bootstrap intervals; identification and retrieval in per "
        f"cent. {protocol} fixes the {fixed}. ↓: lower is better."
        + " The best sample is chosen by the original: an upper bound."
        * bool(best),
        style="dim",
    )
    for reason in dict.fromkeys(evaluation.skipped.values()):
        names = ", ".join(name for name, why in evaluation.skipped.items() if why == reason)
        console.print(f"[yellow]Not computed[/yellow]: {escape(f'{names}: {reason}.')}")
    if published:
        eight = ("", "Pix", "SSIM", "Alex2", "Alex5", "Incep", "CLIP", "Eff ↓", "SwAV ↓")
        print_rows(eight, published_rows(evaluation))
        console.print("Published means over NSD subjects 1, 2, 5 and 7.", style="dim")
    console.print(f"\nTable, scores, settings: [bold]{shown(folder)}[/bold]", soft_wrap=True)
