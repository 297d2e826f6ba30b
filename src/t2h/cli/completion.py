"""`t2h completion`: a script that completes verbs, options and their values in a shell, made of the helps."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import tyro

from t2h.cli._parse import options_in, parse

INSPECT = ("data", "samples", "transfer")


@dataclass(frozen=True)
class Args:
    """Print a script that completes verbs, options and their values.

    bash, in ~/.bashrc: source <(t2h completion bash)

    zsh, in ~/.zshrc after compinit: source <(t2h completion zsh)

    fish: t2h completion fish > ~/.config/fish/completions/t2h.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""


class Option(NamedTuple):
    """An option of a verb: its names, the values that it allows (if it names them), and its help."""

    names: list[str]
    values: list[str]
    about: str
    switch: bool


def main(argv: list[str]) -> int:
    shell = parse(Args, "completion", argv).shell
    from t2h.cli import VERBS

    verbs = [f"inspect {what}" for what in INSPECT] + [verb for verb in VERBS if verb != "inspect"]
    options = {verb: list(_options(verb)) for verb in verbs}
    print(_fish(VERBS, options) if shell == "fish" else _bash(VERBS, options, zsh=shell == "zsh"))
    return 0


def _options(verb: str) -> Iterator[Option]:
    name, *rest = verb.split()
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(f"t2h.cli.{name}").main([*rest, "--help-all"])
    for block in options_in(text.getvalue()).values():
        words = " ".join(block.split())
        names = re.match(r"-[^ ,]+(?:, -[^ ,]+)*", words)
        assert names
        after = words[names.end() :].strip()
        values = re.match(r"\{([\w.,+-]+)\}(?= |$)", after)
        about = re.sub(r"^(?:[A-Z=|{}\[\].]|None)+ ", "", after[values.end() :].strip() if values else after)
        listed = names[0].split(", ")
        no_value = (
            any(each.rsplit(".", 1)[-1].removeprefix("--").startswith("no-") for each in listed) or "-h" in listed
        )
        yield Option(listed, values[1].split(",") if values else [], re.split(r"\.(?: |$)", about)[0], no_value)


def _bash(verbs: dict[str, str], options: dict[str, list[Option]], zsh: bool) -> str:
    valued = "\n".join(
        f"    {'|'.join(shlex.quote(f'{verb} {name}') for name in option.names)}) words='{' '.join(option.values)}' ;;"
        for verb, of in options.items()
        for option in of
        if option.values
    )
    named = {verb: " ".join(name for option in of for name in option.names) for verb, of in options.items()}
    listed = "\n".join(f'    "{verb}") words={shlex.quote(names)} ;;' for verb, names in named.items())
    begin = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{begin}_t2h() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W {shlex.quote(" ".join(verbs))} -- "$current"))
    return
  fi
  if [ "$verb" = inspect ]; then
    if [ "$COMP_CWORD" -eq 2 ]; then
      COMPREPLY=($(compgen -W {shlex.quote(" ".join(INSPECT))} -- "$current"))
      return
    fi
    verb="inspect ${{COMP_WORDS[2]}}"
  fi
  case "$verb $before" in
{valued}
  esac
  if [ -z "$words" ]; then
    case "$current" in -*) ;; *) return ;; esac
    case "$verb" in
{listed}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _t2h t2h"""


def _fish(verbs: dict[str, str], options: dict[str, list[Option]]) -> str:
    quote = lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"  # noqa: E731
    lines = [f"complete -c t2h -f -n __fish_use_subcommand -a {verb} -d {quote(what)}" for verb, what in verbs.items()]
    none_yet = f"__fish_seen_subcommand_from inspect; and not __fish_seen_subcommand_from {' '.join(INSPECT)}"
    lines.append(f"complete -c t2h -f -n {quote(none_yet)} -a {quote(' '.join(INSPECT))}")
    for verb, of in options.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in verb.split())
        for option in of:
            for name in option.names:
                kind = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                value = "" if option.switch else f" -x -a {quote(' '.join(option.values))}" if option.values else " -r"
                lines.append(f"complete -c t2h -n {quote(seen)} {kind}{value} -d {quote(option.about)}")
    return "\n".join(lines)
