"""The error that a user can mend, and small helpers to word one."""

from __future__ import annotations

import difflib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Literal, get_args, get_origin, get_type_hints


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


def check_choices(options: object, name: str) -> None:
    """Raise `unknown_name` for a field of the dataclass ``options`` whose `Literal` type lacks its value."""
    for key, hint in get_type_hints(type(options)).items():
        value, kinds = getattr(options, key), (hint, *get_args(hint))
        allowed = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        if allowed and value not in allowed and not (value is None and type(None) in kinds):
            raise unknown_name(f"{name}.{key}", value, allowed)


_REASONS = {
    errno.ENOSPC: "the disk is full; what was there before is unchanged. Make room, and run the same command again.",
    errno.EDQUOT: "your quota of this disk is used up; make room, and run the same command again.",
    errno.EACCES: "permission denied; choose a place that you may read and write.",
    errno.EPERM: "permission denied; choose a place that you may read and write.",
    errno.EROFS: "the file system is read-only; choose a place that can be written.",
    errno.ENOENT: "no such file or directory.",
}


def one_line(error: Exception) -> str:
    """An error as a user should read it: an `OSError` becomes "file: what is wrong"."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    reason = _REASONS.get(error.errno or 0, f"{error.strerror.lower()}.")
    return reason if error.filename is None else f"{error.filename}: {reason}"


def exit_status(program: str, call: Callable[[], int | None]) -> int:
    """The exit status of a command: 2 after one line about a user's mistake, 130 after Ctrl-C, else what it returned.

    T2H_TRACEBACK in the environment shows where a mistake was noticed.
    """
    try:
        return call() or 0
    except (UserError, OSError) as error:
        if os.environ.get("T2H_TRACEBACK"):
            raise
        print(f"{program}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
