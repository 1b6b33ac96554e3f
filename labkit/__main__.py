"""`./lab VERB`: finds the verb, and turns whatever ends it into an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import NoReturn

from labkit.outcome import Exit, LabBroken, Mistake, say

VERBS = (
    "up", "call", "report", "ladder", "nat", "nats", "experiment", "experiments", "measure", "reflector", "bench",
    "down", "test", "doctor",
)  # fmt: skip
INTERRUPTED = 130  # what a shell makes of SIGINT

EXIT_CODES = """exit codes: 0 pass, 1 the call failed, 2 usage or a missing prerequisite, 3 the lab is broken,
127 this kernel cannot do it, 130 interrupted

settings (environment or .env): LAB_PROJECT, HOME_SUBNET, INTERNET_SUBNET, BOB_HOME_SUBNET, BASE_IMAGE,
LAB_TOPOLOGY, NAT_TYPE, NAT_TYPE_BOB, LAB_OVERLAY (one more compose file), LAB_TRANSPORT, LAB_BOB_TRANSPORT,
LAB_PAGE_PORT (of the live page on the loopback; 0: none), PROXY_PYTHON (pypy3 or python3), and every address of
compose.yaml"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise Mistake."""
        raise Mistake(f"{message} (`./lab help` lists verbs and options)")


def main() -> int:
    """Return the exit status."""
    os.environ.pop("PYTHONPATH", None)  # the door's own: not for the programs that a verb starts
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # whoever ends us gets the same clean-up as Ctrl-C
    parser = Parser(
        prog="./lab", description="A laptop-sized Internet with a real NAT in it, and a SIP call through it.",
        epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    # To read all modules takes longer than most of what they do: only who wants to know the verbs waits for that.
    needed = [verb for verb in VERBS if verb == "".join(sys.argv[1:2])] or VERBS
    modules = {verb: import_module(f"labkit.{verb}") for verb in needed}
    for verb, module in modules.items():
        summary = (module.__doc__ or "").partition(":")[2].strip()
        module.configure(verbs.add_parser(verb, help=summary, description=summary))
    verbs.add_parser("help", help="this list")
    try:
        given, more = parser.parse_known_args()
        if given.verb == "test":
            given.pytest = [*more, *given.pytest]
        elif more:
            parser.error(f"unrecognized arguments: {' '.join(more)}")
        if given.verb is None:
            parser.error(f"no verb; try one of {', '.join(VERBS)}")
        if given.verb == "help":
            parser.print_help()
            return Exit.PASS
        return int(modules[given.verb].run(given))
    except Mistake as mistake:
        say(str(mistake))
        return mistake.code
    except PermissionError as error:
        say(f"{error.filename}: permission denied: does it belong to another user, from an earlier run as root?")
        return Exit.USAGE
    except LabBroken as broken:
        say(f"lab broken: {broken}")
        return Exit.BROKEN
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except Exception:  # ours to mend, and no verdict on anybody's call
        traceback.print_exc()
        return Exit.BROKEN


if __name__ == "__main__":
    sys.exit(main())
