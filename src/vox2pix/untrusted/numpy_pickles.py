"""npy files that hold a pickled dictionary: arrays of numbers and plain containers, nothing else.

A pickle is a program. This one is run on a machine of its own: of its instructions only those
that make plain values are known, of the names it may call only the four that NumPy writes for an
array, and NumPy itself is called for neither: arrays are made here, from the bytes and a type by
its letter, after both were checked. The interpreter is Python's own in Python, whose memory grows
with the file; the one in C reserves whatever the file says.
"""

import pickle
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.files import damage_named, require_file, require_memory
from vox2pix.untrusted.numpy_files import read_npy_header

_REMEDY = "save it again as HDF5 (in GLMsingle: opt['wanthdf5'] = 1)"
_MOST_AXES = 32
_DEEPEST = 32
_UNFINISHED = object()
_MODULES = ("numpy", *(f"numpy.{core}.multiarray" for core in ("core", "_core")))
_NAMES = ("ndarray", "dtype", "_reconstruct", "scalar")
# Instructions that make numbers, texts, bytes, lists, tuples, dictionaries and sets of them, and
# the four that make an array: look up a name, call it, give the state.
_ALLOWED = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS"),
    *("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
)


def read_pickled_dict(path: Path) -> dict[str, Any]:
    """Read the dictionary that ``np.save`` pickled into an npy file.

    Its values are arrays of numbers or texts, numbers, texts, None, and lists and dictionaries of
    these. The file is read as a whole. Refused is anything else, and nothing in the file is run.
    """
    require_file(path)
    with damage_named(path, "no npy file with a dictionary", _REMEDY):
        here = local_copy(path)
        size = here.stat().st_size
        require_memory(path, size, f"{_REMEDY}, which is read in parts")
        with here.open("rb") as stream:
            shape, dtype = read_npy_header(path, stream, objects=True)
            if not dtype.hasobject or prod(shape) != 1:
                raise UserError(
                    f"{path} holds {dtype} of shape {shape}, not one dictionary: {_REMEDY}."
                )
            content = _Plain(path)(_Machine(path, stream).load())
    while isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary: {_REMEDY}.")
    return content


class _Name:
    """One of the names that NumPy writes for an array."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Dtype:
    """A type by its letter and size; its byte order comes with its state."""

    def __init__(self, path: Path, code: Any) -> None:
        if not isinstance(code, str) or code[:1] not in "biufcSUO" or not code[1:].isdecimal():
            raise _refusal(path, f"values of type {str(code)[:40]!r}")
        self.path, self.code, self.order = path, code, "|"

    def set_state(self, state: Any) -> None:
        """Take the byte order; fields, sub-arrays and metadata are refused."""
        if (
            not isinstance(state, tuple)
            or len(state) != 8
            or state[0] != 3
            or state[1] not in ("<", ">", "|", "=")
            or any(each is not None for each in state[2:5])
        ):
            raise _refusal(self.path, "records, or a type that it describes in another way")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        """Whether values are objects of Python, which are pickled one by one."""
        return self.code[0] == "O"

    def made(self) -> np.dtype[Any]:
        """Return NumPy's type."""
        return np.dtype(self.order + self.code)


class _Array:
    """An array, once its state is known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value: Any = None

    def set_state(self, state: Any) -> None:
        """Make the array of its bytes, which must be as many as its shape says."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise _refusal(self.path, "an array that it describes in another way")
        _, shape, dtype, fortran, values = state
        if (
            not isinstance(shape, tuple)
            or not isinstance(dtype, _Dtype)
            or len(shape) > _MOST_AXES
            or any(type(n) is not int or n < 0 for n in shape)
        ):
            raise _refusal(self.path, "an array without a shape and a type")
        if dtype.is_object:
            if not isinstance(values, list) or len(values) != prod(shape):
                raise _refusal(self.path, "objects that do not fill their array")
            self.value = values
            return
        plain = dtype.made()
        if not isinstance(values, bytes) or len(values) != prod(shape) * plain.itemsize:
            raise _refusal(self.path, f"bytes that do not fill an array of shape {shape}")
        flat = np.frombuffer(values, plain) if values else np.zeros(0, plain)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _Machine(pickle._Unpickler):
    """Python's interpreter of pickles with the instructions and names that are allowed here."""

    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {
        code: pickle._Unpickler.dispatch[code]
        for name in _ALLOWED
        for code in [getattr(pickle, name)[0]]
    }

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._path = path
        self.stack: list[Any] = []

    def load(self) -> Any:
        """Run the pickle; an instruction that is not allowed is refused."""
        try:
            return super().load()
        except KeyError as error:
            code = error.args[0] if error.args else ""
            if isinstance(code, int) and code not in self.dispatch:
                raise _refusal(self._path, f"the instruction {bytes([code])!r}") from None
            raise

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name; one that is not allowed is refused."""
        if module not in _MODULES or name not in _NAMES:
            raise _refusal(self._path, f"the name {f'{module}.{name}'[:80]!r}")
        return _Name(name)

    def load_reduce(self) -> None:
        """Make the stand-in for an array, or a type; or one number."""
        arguments, called = self.stack.pop(), self.stack[-1]
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise _refusal(self._path, "a call")
        self.stack[-1] = self._called(called.name, arguments)

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "dtype" and arguments:
            return _Dtype(self._path, arguments[0])
        if name == "_reconstruct" and arguments and isinstance(arguments[0], _Name):
            return _Array(self._path)
        if name == "scalar" and len(arguments) == 2 and isinstance(arguments[0], _Dtype):
            one = _Array(self._path)
            one.set_state((1, (), arguments[0], False, arguments[1]))
            return one
        raise _refusal(self._path, f"a call of {name}")

    def load_build(self) -> None:
        """Give an array or a type its state."""
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, _Array | _Dtype):
            raise _refusal(self._path, "a state of what is no array")
        made.set_state(state)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


class _Plain:
    """Puts arrays in the place of their stand-ins, each container once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[int, Any] = {}  # by the identity of a container that is being held

    def __call__(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, _Name | _Dtype):
            raise _refusal(self._path, "a name that it does not use")
        if not isinstance(value, _Array | dict | list | tuple | set):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = _UNFINISHED
            self._done[id(value)] = self._converted(value, depth + 1)
        if self._done[id(value)] is _UNFINISHED or depth > _DEEPEST:
            raise _refusal(self._path, "containers that are nested too deeply, or hold themselves")
        return self._done[id(value)]

    def _converted(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return _UNFINISHED
        if isinstance(value, _Array):
            made = self(value.value, depth)
            return made.item() if isinstance(made, np.ndarray) and not made.ndim else made
        if isinstance(value, dict):
            return {self(key, depth): self(each, depth) for key, each in value.items()}
        return [self(each, depth) for each in value]


def _refusal(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} is a pickle with {what}; vox2pix reads arrays, numbers, texts, lists and "
        f"dictionaries from it and runs nothing: {_REMEDY}."
    )
