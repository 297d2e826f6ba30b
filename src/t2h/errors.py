"""The error that a user can mend, and small helpers to word one."""

from __future__ import annotations

import difflib
import errno
import functools
import io
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

_FIRST_SPEAKS = 10.0  # seconds
_FLOAT32_MAX = 3.4e38
_LARGEST_BATCH = 1 << 20  # images; Linux ends a process that takes much more memory than there is, without a word


class UserError(ValueError):
    """A mistake in what the user gave. Its one line says what was given, what is allowed and what to do.

    The command line prints it without a traceback; everything else that is raised is a defect of ours.
    """


def unknown_name(kind: str, given: object, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not one of ``allowed``, with the nearest one, if any is near."""
    names = list(allowed)
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UserError(f"unknown {kind} {given!r}{hint} Allowed: {', '.join(names)}.")


@functools.cache
def notice(text: str) -> None:
    """Say what the user should know, once, on stderr; of several processes the first one says it."""
    if os.environ.get("RANK", "0") == "0":
        print(f"t2h: {text}", file=sys.stderr)


def check_known(kind: str, given: Iterable[str], allowed: Collection[str]) -> None:
    """Raise `unknown_name` for the first name that is not allowed."""
    for name in given:
        if name not in allowed:
            raise unknown_name(kind, name, allowed)


def check_choices(options: object, name: str) -> None:
    """Raise `unknown_name` for a field of the dataclass ``options`` whose `Literal` type lacks its value."""
    for key, hint in get_type_hints(type(options)).items():
        value, kinds = getattr(options, key), (hint, *get_args(hint))
        allowed = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        if allowed and value not in allowed and not (value is None and type(None) in kinds):
            raise unknown_name(f"{name}.{key}", value, allowed)


def check_numbers(options: object, **least: int | float) -> None:
    """Raise a `UserError` for a field of the dataclass ``options`` (or one of its tuple) that is given and is no finite
    number, is below its least, such as ``steps=1``, or is no whole number where its type has no float.
    """
    for name, low in least.items():
        value, whole = getattr(options, name), "float" not in type(options).__annotations__[name]
        for number in value if isinstance(value, tuple) else (value,):
            right = number is None or isinstance(number, int if whole else int | float)
            if right and number is not None and number < low:
                raise UserError(f"{name} is {number}; it must be at least {low:g}.")
            if not right or (number is not None and not abs(number) <= sys.float_info.max):
                raise UserError(f"{name} is {number}; it must be a {'whole' if whole else 'finite'} number.")
            most = _LARGEST_BATCH if name in ("batch_size", "references") else 2**63 - 1 if whole else _FLOAT32_MAX
            if number is not None and number > most:
                raise UserError(f"{name} is {number}; it must be at most {most}.")


def check_ranges(options: object, prefix: str = "", **allowed: str) -> None:
    """Raise a `UserError` for a field of the dataclass ``options`` that is given and not in its interval, such as
    ``lr="(0, 1]"`` or ``tau="[0, inf)"``; ``prefix`` stands before its name.
    """
    for name, interval in allowed.items():
        value, (low, high) = getattr(options, name), map(float, interval[1:-1].split(","))
        ends = (low,) * (interval[0] == "[") + (high,) * (interval[-1] == "]")
        if value is not None and not (low < value < high or value in ends):
            above = f"{'at least' if ends else 'above'} {low:g}"
            raise UserError(f"{prefix}{name} is {value}; it must be {above if math.isinf(high) else f'in {interval}'}.")


def check_finite(options: object, prefix: str = "") -> None:
    """Raise a `UserError` for a number of a dataclass, or of one inside it, that single precision does not hold."""
    for name, value in vars(options).items():
        if is_dataclass(value):
            check_finite(value, f"{prefix}{name}.")
        for number in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(number, float) and not abs(number) <= _FLOAT32_MAX:
                raise UserError(f"{prefix}{name} is {number}; it must be a finite number, at most {_FLOAT32_MAX}.")


def check_unique(name: str, values: Sequence[object]) -> None:
    """Raise a `UserError` unless there is at least one value, and each once."""
    if not values or len(set(values)) < len(values):
        raise UserError(f"{name} is {' '.join(map(str, values)) or 'empty'}; give at least one, each once.")


def check_class_names(names: Sequence[str], of: str = "") -> None:
    """Raise a `UserError` for a name that two classes have; ``of``, such as "photos: ", stands before it."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{of}two classes are called {twice!r}; give each a name of its own.")


def check_labels(what: str, labels: Any, num_classes: int) -> None:
    """Raise a `UserError` for a label of an integer array outside 0 ... num_classes - 1."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        given = f"{what} run from {labels.min()} to {labels.max()}"
        raise UserError(f"{given}; with {num_classes} classes they must lie in 0 ... {num_classes - 1}.")


_REASONS = {
    errno.ENOSPC: "the disk is full; what was there before is unchanged. Make room, and run the same command again.",
    errno.EDQUOT: "your quota of this disk is used up; make room, and run the same command again.",
    errno.EACCES: "permission denied; choose a place that you may read and write.",
    errno.EPERM: "permission denied; choose a place that you may read and write.",
    errno.EROFS: "the file system is read-only; choose a place that can be written.",
    errno.ENOENT: "no such file or directory.",
    errno.EEXIST: "there is a file where a folder is needed; choose another place.",
    errno.ENOTDIR: "there is a file where a folder is needed; choose another place.",
    errno.EISDIR: "there is a folder where a file is needed; choose another place.",
}


def one_line(error: BaseException) -> str:
    """An error as a user should read it: an `OSError` becomes "file: what is wrong"."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); ask for less at once (--batch-size, --per-class, --fill-to)."
    if not isinstance(error, OSError):
        return str(error)
    if not error.strerror:
        return " ".join(str(error).split())
    reason = _REASONS.get(error.errno or 0, f"{error.strerror.lower()}.")
    return reason if error.filename is None else f"{error.filename}: {reason}"


def exit_status(program: str, call: Callable[[], int | None]) -> int:
    """The exit status of a command: 2 after one line about a user's mistake, 130 after Ctrl-C, else what it returned.

    Printing cannot fail: what the output's encoding lacks becomes its code, such as \\u03b5. Of several processes the
    first one speaks for all. T2H_TRACEBACK in the environment shows where a mistake was noticed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = call() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `t2h ... | head`: whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        memory = isinstance(error, RuntimeError) and "allocate" in str(error)  # torch has no error of its own
        if os.environ.get("T2H_TRACEBACK") or (isinstance(error, RuntimeError) and not memory):
            raise
        if os.environ.get("RANK", "0") != "0":
            time.sleep(_FIRST_SPEAKS)  # the launcher ends this process when the first one has failed as well
        print(f"{program}: {one_line(MemoryError(error) if memory else error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
