"""The command line. `python -m proxy` serves; the other verbs are for whoever runs it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from proxy import config
from proxy.config import BadSettings, Settings


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0 stopped cleanly or ping answered, 1 ping not answered, 2 the user's mistake."""
    given = _parser().parse_args(arguments)
    if given.verb == "example":
        print(config.example(), end="")
        return 0
    try:
        settings, origins = config.load(os.environ, given.config)
        return _do(given, settings, origins)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for the flush at exit)
        return 0
    except BadSettings as mistakes:
        return _complain(mistakes)


def _do(given: argparse.Namespace, settings: Settings, origins: dict[str, str]) -> int:
    """Do what the verb says; return the exit status. Raises BadSettings.

    What a verb needs is imported here: a ping, which a health check may ask for all day, needs next to nothing.
    """
    if given.verb == "ping":
        from proxy.ping import ping

        return ping(settings)
    from proxy.admin import check, user
    from proxy.serve import MISTAKES, serve

    try:
        if given.verb == "check":
            return check(settings, origins)
        return user(settings, given.action, given.name) if given.verb == "user" else serve(settings)
    except MISTAKES as mistakes:
        return _complain(mistakes)


def _complain(mistakes: Exception) -> int:
    for line in str(mistakes).splitlines():
        print(f"proxy: {line}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proxy", description=__doc__,
        epilog=f"settings (key in the TOML file, environment; what for; what is allowed):\n\n{config.help_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file; the environment wins over it")
    parser.set_defaults(verb="serve")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, text in (
        ("serve", "serve until SIGTERM or SIGINT; SIGHUP reads users and certificates anew (this is the default)"),
        ("ping", "ask the proxy that runs with these settings whether it answers; exit 0 when it does"),
        ("check", "say what these settings mean, without serving"),
        ("example", "print a commented TOML file with every default"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    text = "add a user to the users file, or remove one; the password is asked for, or read from standard input"
    verb = verbs.add_parser("user", help=text, description=text)
    verb.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    verb.add_argument("action", choices=("add", "remove"))
    verb.add_argument("name")
    return parser
