"""Files that somebody else wrote: one module per format, each the only way to open it.

Files are data, never programs: no pickle, no codec, filter, plug-in or link of a file that is not
allowed by name here. What a format allows, and why, is listed in ``docs/reliability.md``. Import
from the modules: each loads its own library only.

- ``files``: plain files, links, free memory
- ``text``, ``tables``: JSON, TOML, text; CSV and TSV
- ``numpy_files``, ``hdf5``, ``matlab``, ``zarr_folders``: arrays
- ``volumes``: NIfTI and MGH
- ``images``: PNG and JPEG
- ``torch_files``, ``safetensors_files``, ``models``: tensors and models
"""
