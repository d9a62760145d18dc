"""A map on the inflated cortex that a reader turns in a browser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.encoding.figures import Scale
from vox2pix.store import replacing

_N_VERTICES = 10_242  # of a hemisphere of fsaverage5, which are the first of those of fsaverage
_SIDES = {"lh": "left", "rh": "right"}


def save_turning_cortex(
    values: Mapping[str, NDArray[Any]], scale: Scale, path: Path, title: str = ""
) -> None:
    """Write an HTML page with the inflated cortex, to be turned without a network.

    ``values`` are ``lh`` and ``rh``, (10242,) on fsaverage5 or (163842,) on fsaverage, of which the
    first 10,242 are drawn; NaN is not coloured. A page has some 1.6 MB; the script that all pages
    of a folder share, ``plotly.min.js``, is beside them (5 MB). nilearn's ``view_surf`` would write
    2.7 MB per page, with a script of its own in each.
    """
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.plotting import plot_surf_stat_map
    from nilearn.surface import PolyMesh, SurfaceImage

    files = fetch_surf_fsaverage("fsaverage5")  # part of nilearn: nothing is downloaded
    mesh = PolyMesh(**{side: files[f"infl_{side}"] for side in _SIDES.values()})
    parts = {
        side: np.asarray(values[hemi][:_N_VERTICES], np.float32) for hemi, side in _SIDES.items()
    }
    curvature = {side: files[f"curv_{side}"] for side in _SIDES.values()}
    drawn = plot_surf_stat_map(
        stat_map=SurfaceImage(mesh, parts),
        bg_map=SurfaceImage(mesh, curvature),
        hemi="both",
        view="posterior",  # where visual cortex is
        engine="plotly",
        cmap=scale.cmap,
        vmin=scale.low,
        vmax=scale.high,
        symmetric_cbar=False,
        title=f"{title}<br><sub>{scale.label}</sub>",
    ).figure
    drawn.update_layout(width=None, height=None, autosize=True)
    with replacing(path) as partial:
        drawn.write_html(partial, include_plotlyjs="directory", default_height="96vh")
