"""Give the readers data that are wrong in ways no format shows: none may pass without a word.

Every case has a kind, a name and a function that makes an input and returns what became of it:
``refused`` (one sentence, before the work), ``noted`` (a note that names it), ``right`` (the right
value), ``unknowable`` (the data do not hold the answer), or, what must not be, ``SILENT`` and
``TRACEBACK``. With ``--small``, designs go through the check and the plan alone.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from results import machine, option_parser, show
from vox2pix.config import Config
from vox2pix.data import check
from vox2pix.errors import UserError

Case = tuple[str, str, Callable[[], str]]
Data = SimpleNamespace
OUTCOMES = ("refused", "noted", "right", "unknowable", "SILENT", "TRACEBACK")
N, SESSIONS, VOXELS = 20, 3, 40


def made(n: int = N, n_sessions: int = SESSIONS, n_voxels: int = VOXELS, n_test: int = 5) -> Data:
    """Simulate responses to images that were each shown once per session, in changing order."""
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(n) for _ in range(n_sessions)])
    pattern = 0.7 * rng.standard_normal((n, n_voxels))
    ids = np.array([f"s{i}" for i in range(n)])
    return Data(
        rng=rng,
        order=order,
        names=ids,
        trials=pd.DataFrame(
            {
                "stimulus_id": ids[order],
                "session": np.repeat(np.arange(n_sessions) + 1, n),
                "split": np.where(order < n_test, "test", "train"),
            }
        ),
        responses=pattern[order] + rng.standard_normal((len(order), n_voxels)),
        images=rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8),
        voxels=pd.DataFrame({"early": np.ones(n_voxels, int), "ventral": 1}),
        captions=None,
        text=None,
    )


def write(data: Data, folder: Path) -> Path:
    """Write a folder of a person's own data."""
    (folder / "images").mkdir(parents=True)
    for name, image in zip(data.names, data.images, strict=True):
        file = folder / "images" / (name if "." in name else f"{name}.png")
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(file, exif=image.info.get("exif", b""))
    np.save(folder / "responses.npy", np.asarray(data.responses, np.float32))
    data.trials.to_csv(folder / "trials.csv", index=False)
    data.voxels.to_csv(folder / "voxels.csv", index=False)
    if data.captions is not None:
        data.captions.to_csv(folder / "captions.csv", index=False)
    if data.text is not None:
        text = (folder / "trials.csv").read_text()
        (folder / "trials.csv").write_bytes(data.text(text))
    return folder


def judged(change: Callable[[Data], None], words: str = "", **sizes: int) -> str:
    """Check changed data: what says the words counts, what says nothing is silent."""
    data = made(**sizes)
    change(data)
    with tempfile.TemporaryDirectory() as folder:
        report = check(write(data, Path(folder) / "own"))
    if any(words in fault for fault in report.faults):
        return "refused"
    return "noted" if words and any(words in note for note in report.notes) else "SILENT"


def rows(data: Data, session: int) -> slice:
    """Return the rows of a session."""
    return slice(N * (session - 1), N * session)


def responses(change: Callable[[Data], Any]) -> Callable[[Data], None]:
    """Return a change of the responses from a function that returns the new ones."""

    def apply(data: Data) -> None:
        data.responses = change(data)

    return apply


def at(where: Any, value: Callable[[Data], Any]) -> Callable[[Data], None]:
    """Return a change of some of the responses."""

    def apply(data: Data) -> None:
        data.responses[where] = value(data)

    return apply


SECOND = slice(N, 2 * N)
RESPONSES: dict[str, tuple[Callable[[Data], None], str]] = {
    "trials shuffled": (
        responses(lambda d: d.responses[d.rng.permutation(len(d.responses))]), "no more alike"),
    "trials shifted by 1": (responses(lambda d: np.roll(d.responses, 1, 0)), "1 row earlier"),
    "trials shifted by -1": (responses(lambda d: np.roll(d.responses, -1, 0)), "1 row later"),
    "trials shifted by 3": (responses(lambda d: np.roll(d.responses, 3, 0)), "3 rows earlier"),
    "trials reversed": (responses(lambda d: d.responses[::-1]), "no more alike"),
    "one session shifted": (
        at(SECOND, lambda d: np.roll(d.responses[SECOND], 1, 0)), "session 2 are taken 1 row"),
    "one session shuffled": (
        at(SECOND, lambda d: d.responses[SECOND][d.rng.permutation(N)]), "session 2 do not agree"),
    "one session reversed": (
        at(SECOND, lambda d: d.responses[SECOND][::-1]), "session 2 do not agree"),
    "a session copied": (at(SECOND, lambda d: d.responses[:N]), "same responses as session 1"),
    "a session copied, scaled": (at(SECOND, lambda d: 2 * d.responses[:N] + 1), "but for scale"),
    "a session copied, noise": (
        at(SECOND, lambda d: d.responses[:N] + 0.01 * d.rng.standard_normal((N, VOXELS))),
        "but for scale"),
    "a trial copied": (at(3, lambda d: d.responses[2]), "same responses as trial 3"),
    "a trial copied, noise": (
        at(3, lambda d: d.responses[2] + 0.01 * d.rng.standard_normal(VOXELS)),
        "nearly another one's"),
    "a trial x 1e6": (at(5, lambda d: 1e6 * d.responses[5]), "times as large as usual"),
    "a trial x 100": (at(5, lambda d: 100 * d.responses[5]), "times as large as usual"),
    "a response of 1e6": (at((5, 3), lambda d: 1e6), "times as large as usual"),
    "a trial x 1e30": (at(5, lambda d: 1e30 * d.responses[5]), "Responses reach"),
    "a trial x 1e-6": (at(5, lambda d: 1e-6 * d.responses[5]), "nearly 0 in all voxels"),
    "a trial of zeros": (at(5, lambda d: 0), "0 in every voxel"),
    "three trials of zeros": (at(slice(5, 8), lambda d: 0), "3 trials are 0 in every voxel"),
    "a trial of one value": (at(5, lambda d: 2), "one value in all voxels"),
    "97 % constant voxels": (at((slice(None), slice(1, None)), lambda d: 3), "never change"),
    "all voxels constant": (at(slice(None), lambda d: 3), "never change"),
    "voxels constant in a session": (at((SECOND, slice(0, 3)), lambda d: 5), "within session 2"),
    "voxels of zeros in a session": (at((SECOND, slice(0, 3)), lambda d: 0), "no data"),
    "a session in other units": (at(SECOND, lambda d: 300 * d.responses[SECOND]), "other units"),
    "all x 1e30": (responses(lambda d: 1e30 * d.responses), "Responses reach"),
    "all x 1e-14": (responses(lambda d: 1e-14 * d.responses), "Responses differ by at most"),
    "NaN in one voxel": (at((slice(0, None, 2), 4), lambda d: np.nan), "NaN or infinite"),
    "infinity in one trial": (at((5, 4), lambda d: np.inf), "NaN or infinite"),
    "transposed (shapes differ)": (responses(lambda d: d.responses.T), "give one row"),
}  # fmt: skip


def _test_session(offset: float) -> Callable[[Data], None]:
    def apply(data: Data) -> None:
        data.order = np.concatenate([5 + data.order[: 2 * N] % 15, data.order[2 * N :] % 5])
        data.trials["stimulus_id"] = data.names[data.order]
        data.trials["split"] = np.where(data.order < 5, "test", "train")
        pattern = 0.7 * data.rng.standard_normal((N, VOXELS))
        data.responses = pattern[data.order] + data.rng.standard_normal((len(data.order), VOXELS))
        data.responses[2 * N :] += offset

    return apply


def _offset(data: Data) -> None:
    data.responses[(data.trials["split"] == "test").to_numpy()] += 4


def _square(data: Data) -> None:
    data.responses = data.responses[:, : len(data.responses)].T


DESIGN_EVIDENCE: dict[str, tuple[Callable[[Data], None], str, dict[str, int]]] = {
    "test set is a session of its own": (_test_session(0), "without a training trial", {}),
    "and that has an offset": (_test_session(4), "their responses differ by", {}),
    "test trials have an offset": (_offset, "differ by more than their stimuli", {}),
    "transposed (square)": (_square, "no more alike", {"n_voxels": N * SESSIONS}),
}


def image(row: int, make: Callable[[Data], Any]) -> Callable[[Data], None]:
    """Return a change of one image."""

    def apply(data: Data) -> None:
        data.images = list(data.images)
        data.images[row] = make(data)

    return apply


def _all_images(make: Callable[[Any], Any]) -> Callable[[Data], None]:
    def apply(data: Data) -> None:
        data.images = [make(one) for one in data.images]

    return apply


def _turned(data: Data) -> None:
    data.images = [Image.fromarray(one) for one in data.images]
    exif = Image.Exif()
    exif[0x0112] = 6
    data.images[0].info["exif"] = exif.tobytes()


IMAGES: dict[str, tuple[Callable[[Data], None], str]] = {
    "one image in test and train": (image(0, lambda d: d.images[9]), "the same as a training"),
    "nearly one image in both": (
        image(0, lambda d: np.clip(d.images[9].astype(int) + 1, 0, 255).astype(np.uint8)),
        "nearly the same as a training"),
    "all images the same": (_all_images(lambda i: np.arange(768).reshape(16, 16, 3).astype("u1")),
                            "the same as a training"),
    "a training image twice": (image(8, lambda d: d.images[9]), "more than one id"),
    "a uniform test image": (image(0, lambda d: np.full((16, 16, 3), 9, "u1")), "one colour"),
    "transparent": (image(0, lambda d: Image.new("RGBA", (16, 16))), "is transparent in"),
    "transparent palette": (
        image(0, lambda d: Image.new("RGBA", (16, 16)).quantize()), "is transparent in"),
    "grey with alpha": (image(0, lambda d: Image.new("LA", (16, 16))), "is transparent in"),
    "16 bit": (image(0, lambda d: Image.fromarray(np.zeros((16, 16), np.uint16))), "8 bits"),
    "grey": (_all_images(lambda i: i[..., 0]), "are grey"),
    "not square": (_all_images(lambda i: i[:, :8]), "cut to their centre"),
    "dark, 0 and 1": (_all_images(lambda i: i % 2), "brighter than 1 of 255"),
    "turned by EXIF": (_turned, "EXIF"),
}  # fmt: skip


def _renamed(trial: Callable[[str], str], file: Callable[[str], str]) -> Callable[[Data], None]:
    def apply(data: Data) -> None:
        data.trials["stimulus_id"] = data.trials["stimulus_id"].map(trial)
        data.names = np.array([file(name) for name in data.names])

    return apply


def _same(name: str) -> str:
    return name


IDS: dict[str, tuple[Callable[[Data], None], str]] = {
    "with an extension": (_renamed(lambda i: f"{i}.png", _same), "with an extension"),
    "with a folder": (_renamed(lambda i: f"a/{i}", _same), "with a folder"),
    "with folder and extension": (_renamed(lambda i: f"a/{i}.jpg", _same), "and an extension"),
    "other Unicode form": (
        _renamed(lambda i: f"caf\u00e9{i}", lambda i: f"cafe\u0301{i}"), "Unicode form"),
    "decimals": (_renamed(lambda i: f"{i[1:]}.0", lambda i: i[1:]), "a decimal"),
    "capitals": (_renamed(str.upper, _same), "in other capitals"),
    "leading zeros": (_renamed(lambda i: i[1:], lambda i: f"{int(i[1:]):04d}"), "leading zeros"),
    "blanks": (_renamed(lambda i: f"a {i}", lambda i: f"a_{i}"), "blanks or hyphens"),
    "another name": (_renamed(lambda i: f"zebra{i}", _same), "no image of 20 of 20 stimuli"),
    "BMP files": (_renamed(_same, lambda i: f"{i}.bmp"), "a form that is not read"),
}  # fmt: skip


def _text(encode: Callable[[str], bytes]) -> Callable[[Data], None]:
    return lambda data: setattr(data, "text", encode)


TABLES: dict[str, tuple[Callable[[Data], None], str]] = {
    "semicolons": (_text(lambda t: t.replace(",", ";").encode()), "separated by semicolons"),
    "tabs": (_text(lambda t: t.replace(",", "\t").encode()), "separated by tabs"),
    "UTF-16": (_text(lambda t: t.encode("utf-16")), "UTF-16"),
    "Latin-1": (_text(lambda t: t.replace("s1,", "\u00e9,").encode("latin-1")), "is not UTF-8"),
    "Excel workbook": (_text(lambda t: b"PK\x03\x04" + t.encode()), "workbook"),
    "open quote": (_text(lambda t: t.replace("s3", '"s3', 1).encode()), "double quote"),
    "comma at the end": (_text(lambda t: t.replace("\n", ",\n").encode()), "has no name"),
    "a value too many": (_text(lambda t: t.replace("s3,", "s3,,", 1).encode()), "4 values"),
    "a value too few": (_text(lambda t: t.replace(",train", "", 1).encode()), "2 values"),
    "column named twice": (_text(lambda t: t.replace("split", "session", 1).encode()), "two col"),
    "no split": (lambda d: d.trials.pop("split"), "every trial is for"),
    "other words for a split": (_text(lambda t: t.replace("test", "val").encode()), "neither"),
    "blank line before a fault": (
        _text(lambda t: t.replace("\n", "\n\n", 1).replace("test", "tets", 1).encode()), "line "),
}  # fmt: skip


def _captions(texts: Callable[[int], str], ids: Callable[[str], str] = _same) -> Any:
    def apply(data: Data) -> None:
        rows = [(ids(name), texts(i)) for i, name in enumerate(data.names)]
        data.captions = pd.DataFrame(rows, columns=["stimulus_id", "caption"])

    return apply


CAPTIONS: dict[str, tuple[Callable[[Data], None], str]] = {
    "ids with extension": (_captions(lambda i: f"a {i}", lambda n: f"{n}.png"), "no caption of"),
    "empty": (_captions(lambda i: "" if i == 3 else f"a {i}"), "no caption of stimulus 's3'"),
    "the same for all": (_captions(lambda i: "a dog"), "the same captions"),
}


def unknowable(change: Callable[[Data], None]) -> str:
    """Tell whether the check rightly says nothing of what the data do not hold."""
    return "unknowable" if judged(change, "shifted against") == "SILENT" else "noted"


def _same_order(data: Data) -> None:
    order = np.tile(np.arange(N), SESSIONS)
    data.trials["stimulus_id"] = data.names[order]
    data.trials["split"] = np.where(order < 5, "test", "train")
    pattern = 0.7 * data.rng.standard_normal((N, VOXELS))
    data.responses = pattern[order] + data.rng.standard_normal((len(order), VOXELS))
    data.responses = np.roll(data.responses, 1, axis=0)


def _no_repeats(data: Data) -> None:
    data.trials = data.trials[:N]
    data.responses = np.roll(data.responses[:N], 1, axis=0)


DESIGNS: dict[str, tuple[Callable[[Data], None], dict[str, int]]] = {
    **{f"{n} training images": (lambda d: None, {"n": 5 + n}) for n in (0, 1, 2, 3)},
    **{f"{n} test images": (lambda d: None, {"n": 12, "n_test": n}) for n in (0, 1, 2, 3)},
    "one repeat": (lambda d: None, {"n_sessions": 1}),
    "two repeats": (lambda d: None, {"n": 8, "n_sessions": 2, "n_test": 3}),
    "one voxel": (lambda d: None, {"n_voxels": 1}),
    "uniform test image": (IMAGES["a uniform test image"][0], {}),
    "identical images": (IMAGES["all images the same"][0], {}),
    "constants": (RESPONSES["all voxels constant"][0], {}),
    "x 1e-12": (responses(lambda d: 1e-12 * d.responses), {}),
    "x 1e30": (RESPONSES["all x 1e30"][0], {}),
}


def experiment(folder: Path) -> Config:
    """Return the smallest experiment on a folder."""
    return Config.model_validate(
        {
            "name": "small",
            "data": {"source": "folder", "path": str(folder)},
            "generate": {"samples": 1, "steps": 2},
            "evaluate": {"per_group": 1},
            "encode": {"latents": ["z"], "rois": ["all"], "steps": 2, "strengths": [],
                       "moments": [], "layers": [], "resamples": 100},
            "compute": {"device": "cpu"},
        }
    )  # fmt: skip


def carried_out(command: str, change: Callable[[Data], None], sizes: dict[str, int]) -> str:
    """Carry a command out on a design: a result or one sentence before the work."""
    from vox2pix import pipeline

    data = made(**sizes)
    change(data)
    with tempfile.TemporaryDirectory() as root:
        config = experiment(write(data, Path(root) / "own"))
        out = Path(root) / "runs" / "small"
        try:
            if command == "check":
                check(Path(root) / "own")
            elif command == "plan":
                pipeline.plan(config, out, 1e9)
                pipeline.plan_encoding(config, out, 1e9)
            else:
                getattr(pipeline, command)(config, out)
        except UserError:
            late = (Path(root) / "runs" / "cache").exists()
            return "SILENT" if late else "refused"  # late: after work was done
    return "right"


def cases(small: bool) -> Iterator[Case]:
    """Yield every case."""
    for kind, table in (
        ("responses", RESPONSES),
        ("images", IMAGES),
        ("ids", IDS),
        ("tables", TABLES),
        ("captions", CAPTIONS),
    ):
        for name, (change, words) in table.items():
            yield kind, name, lambda c=change, w=words: judged(c, w)
    for name, (change, words, sizes) in DESIGN_EVIDENCE.items():
        yield "splits", name, lambda c=change, w=words, s=sizes: judged(c, w, **s)
    yield "unknowable", "off by one, no repeats", lambda: unknowable(_no_repeats)
    yield "unknowable", "off by one, one order in all sessions", lambda: unknowable(_same_order)
    for name, (change, sizes) in DESIGNS.items():
        for command in ("check", "plan") if small else ("check", "plan", "run", "encode"):
            yield (
                "tiny and odd designs",
                f"{command}: {name}",
                lambda k=command, c=change, s=sizes: carried_out(k, c, s),
            )


def tried(make: Callable[[], str]) -> str:
    """Return what became of a case; an exception that is no sentence is a traceback."""
    try:
        return make()
    except UserError:
        return "refused"
    except Exception as error:  # the point is to find them
        print(f"    {type(error).__name__}: {error}"[:200], file=sys.stderr)
        return "TRACEBACK"


def main() -> int:
    """Try every case and print a table by kind."""
    options = option_parser(__doc__).parse_args()
    counts: dict[str, Counter[str]] = {}
    failed = []
    for kind, name, make in cases(options.small):
        outcome = tried(make)
        counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in ("SILENT", "TRACEBACK"):
            failed.append(f"{outcome}: {kind}, {name}")
            print(failed[-1], file=sys.stderr)
    total = sum(counts.values(), Counter())
    lines = [f"{'kind':<22}{'inputs':>8}" + "".join(f"{name:>12}" for name in OUTCOMES)]
    for kind, of_kind in (*counts.items(), ("all", total)):
        cells = "".join(f"{of_kind[name]:>12}" for name in OUTCOMES)
        lines.append(f"{kind:<22}{of_kind.total():>8}{cells}")
    lines += ["", *failed] if failed else []
    lines += [
        "",
        "Unknowable: ids that are off by one, where no stimulus is repeated or every session shows",
        "the stimuli in the same order: responses fit either order equally well.",
    ]
    figures = {"machine": machine(), "counts": {k: dict(v) for k, v in counts.items()}}
    show(figures, "\n".join(lines), options, "silent-data", page="reliability.md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
