"""Text from outside, before it is shown or saved: without secrets or control characters.

Names of files, captions and messages of libraries end up in the terminal, in reports and in tables.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HIDDEN = "***"

_USER_OF_URL = re.compile(
    r"""\b([a-z][a-z0-9+.-]+:/{1,2})  # one slash is left where a URL is taken for a path
    (?: [^\s/@"'<>]+                            # a user, maybe with a password
      | [^\s/:@"'<>]+ : (?!\d+(?:/|$)) [^\s"'<>]*   # a password with slashes in it; no port
    )@""",
    re.IGNORECASE | re.VERBOSE,
)
# Names of settings, of headers and of what follows the question mark of a URL.
_SECRET_NAME = r"""
    (?: x-amz-(?:signature|credential|security-token)
      | [\w-]* (?: secret | passw(?:or)?d | passphrase | private[_-]?key | api[_-]?key
                 | access[_-]?key(?:[_-]?id)? | (?:auth|access|session|security|hf|refresh|id)
                   [_-]?token | credential | signature ) [\w-]*
      | token | sig | pwd | auth | authorization | key
    )"""
_NAMED_SECRET = re.compile(
    rf"""(?<![\w-])(["']?{_SECRET_NAME}["']?)(\s*=\s*|["']\s*:\s*)(["']?)([^\s"'&;,#)\]}}]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(
    r"\b(authorization\s*:\s*\w+(?=\s+\S)|bearer(?=\s+\S{16}))\s+[^\s\"']+", re.IGNORECASE
)
_KNOWN_FORMS = re.compile(
    r"""\b(?: hf_[A-Za-z0-9]{16,}                             # Hugging Face
        | (?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}                # AWS
        | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,}     # GitHub
        | glpat-[\w-]{16,} | sk-[\w-]{20,} | xox[abprs]-[\w-]{10,} | AIza[\w-]{30,}
        | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                     # JSON web tokens
    )""",
    re.VERBOSE,
)
_SECRET_VARIABLES = re.compile(r"SECRET|TOKEN|PASSW(OR)?D|API_?KEY|ACCESS_KEY|CREDENTIAL$", re.I)
_SHORTEST = 8  # characters of an environment variable's value that is looked for


def without_secrets(text: str) -> str:
    """Return a text with every password, key and token replaced by three stars.

    Users and passwords in URLs, values whose names say that they are secret (also behind the
    question mark of a URL), tokens of known forms, and the values of secret environment variables.
    """
    for value in _secret_values():
        text = text.replace(value, HIDDEN)
    text = _USER_OF_URL.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1 {HIDDEN}", text)
    text = _NAMED_SECRET.sub(rf"\1\2\3{HIDDEN}", text)
    return _KNOWN_FORMS.sub(HIDDEN, text)


def _secret_values() -> list[str]:
    """Return what secret environment variables hold, the longest first."""
    values = {
        value
        for name, value in os.environ.items()
        if _SECRET_VARIABLES.search(name) and len(value) >= _SHORTEST and not _is_place(value)
    }
    return sorted(values, key=len, reverse=True)


def _is_place(value: str) -> bool:
    """Return whether a variable names a file with the secret, not the secret."""
    return "://" in value or value.startswith(("/", "~", "./"))


def holds_secrets(text: str) -> bool:
    """Return whether a text, such as a URL, carries a password, or a token of any known kind."""
    return without_secrets(text) != text


def all_without_secrets(value: Any) -> Any:
    """Return what JSON can hold with the secrets in its texts replaced by three stars."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: all_without_secrets(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_without_secrets(each) for each in value]
    return value


def without_places(text: str, roots: Iterable[str | Path] = ()) -> str:
    """Return a text that names files and folders, but not where on this machine they are.

    Of each absolute path the last part stays; paths with spaces are recognised below ``roots``
    only.
    """
    folders = {str(root).rstrip("/") for root in (*roots, Path.home(), Path.cwd())}
    for root in sorted((r for r in folders if r.count("/") > 1), key=len, reverse=True):
        last = root.rpartition("/")[2].replace("\\", r"\\")
        text = re.sub(rf"{re.escape(root)}(?![\w-])", last, text)
    text = re.sub(r"\bfile://", "", text)
    return _ABSOLUTE.sub(lambda match: match[1], text)


_ABSOLUTE = re.compile(
    r"""(?<![\w.:/<~*-])(?: ~?/(?:[^\s/"'<>|]+/)+ | [A-Za-z]:[\\/](?:[^\s\\/"'<>|]+[\\/])+ )
    ([^\s\\/"'<>|]*)""",
    re.VERBOSE,
)


def is_utf8(name: str) -> bool:
    """Return whether a name is text: some file systems hold names of any bytes."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


# Controls (C0, C1), line and paragraph separators, what reorders or hides text, half characters.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: object, keep: str = "") -> str:
    r"""Return a text in one line that shows what is in it, and that any file in UTF-8 can hold.

    Control characters are written as Python writes them (``\x1b``), except those in ``keep``;
    so are characters that change the order of others, and bytes of file names that are no
    UTF-8.
    """

    def written(match: re.Match[str]) -> str:
        char = match[0]
        return char if char in keep else _SHORT.get(char) or ascii(char)[1:-1]

    return _CONTROLS.sub(written, str(text))
