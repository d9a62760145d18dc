"""Tables as text files (CSV, TSV): one plain file, never unpacked, fetched or run."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from vox2pix.errors import UserError
from vox2pix.untrusted.files import one_line
from vox2pix.untrusted.text import read_bytes

_LARGEST = 2**30


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table by pandas; refuse files that are packed, above 1 GB or hold zero bytes."""
    content = read_bytes(path, _LARGEST)
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(f"{path}, line {line} holds a zero byte: save the table as text, in UTF-8.")
    try:
        return pd.read_csv(BytesIO(content), compression=None, **options)
    except (OSError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)[:300]}): correct it.") from error
