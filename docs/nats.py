"""Writes docs/nats.md from the data that the router and the probe read: `python -m docs.nats`.

The invariant: a kind, an axis or a verb is in the page if and only if it is in nat/kinds.toml, `nat.kinds.AXES` or
`labkit.nat.VERBS`. An axis without words is a KeyError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from labkit.nat import VERBS
from labkit.nats import COLUMNS, MEANING, SHORT, differing
from nat.kinds import AXES, BASE, PRESETS, Kind

PAGE = Path(__file__).parent / "nats.md"

INTRO = """# The kinds of NAT

<!-- Written by `python -m docs.nats` from nat/kinds.toml: edit that, not this. -->

A router is a point on independent axes; a kind is a point that has a name. The rules of a value are a file in
[nat/rules](../nat/rules), and a router loads those that its axes name. Before any SIP flows, a probe in the phone's
place measures the same axes (`lifetime` and `refresh` where that takes seconds: up to 6 s): where measured and declared
differ, the lab is broken, and nobody's call is judged.

```sh
./lab nats                    # this page in short, and whether this machine's kernel can do each
./lab nats symmetric          # one kind: its axes in full, and its rules
./lab up --nat symmetric      # a kind
./lab up --nat mapping=address-dependent,lifetime=30            # axes; the others are as `home` has them
./lab up --nat cgnat,lifetime=5                                 # a kind, but
./lab up --nat customer.toml                                    # a file with axes in it: mapping = "address-dependent"
./lab up --topology two-homes --nat symmetric --bob-nat cgnat   # each at home behind a router of his own
```

`NAT_TYPE` and `NAT_TYPE_BOB` in the environment are the same two; a file is read by `./lab`, and not by `docker
compose`. What no router can be (`mapping=address-dependent` with `ports=preserved`, say) is answered in one line, with
the nearest that can; what this kernel cannot do ends with exit code 127.

Behind `sip-alg` calls are set up and end, and Alice hears nothing: the router writes its own address into her SDP, so
that she looks like a phone without a router, and lets nobody in there ([experiments.md](experiments.md)). `./lab up`
says so, and fails.
"""


KINDS_INTRO = f"""## Kinds

EI endpoint-independent, AD address-dependent, APD address-and-port-dependent, - none; lifetime in seconds. In bold:
what a kind has otherwise than `{BASE}`.
"""

VERBS_INTRO = """## What can happen to a router

While the lab runs: `./lab nat VERB`, and with `--home bob` to Bob's router. After `set` and `lifetime` the router is
measured anew; both are refused while UDP is blocked, packets are lost or held back, or messages wait to be dropped:
`clear` first. What it has forgotten the phones do not know: they register again every 20 s, or at once with
`./lab call --register alice`.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRO, f"## Axes\n\n{axes()}\n", KINDS_INTRO, f"{kinds()}\n", VERBS_INTRO, f"{verbs()}\n"])


def axes() -> str:
    """Return the table of the axes."""
    rows = []
    for axis, allowed in AXES.items():
        says, source = MEANING[axis]
        # A range is two numbers; words are as many as there are.
        values = " to ".join(map(str, allowed)) if isinstance(allowed[0], int) else ", ".join(map(str, allowed))
        rows.append((f"`{axis}`", values, says, source))
    return _table(("axis", "values", "what it says", "source"), rows)


def kinds() -> str:
    """Return the table of the kinds."""
    head = ("kind", *COLUMNS, "besides", "what it is", "where one meets it")
    return _table(head, [_row(kind) for kind in PRESETS.values()])


def verbs() -> str:
    """Return the table of what can be done to a router at run time."""
    rows = [(f"`{verb} {arguments}`".replace(" `", "`"), says) for verb, (arguments, says) in VERBS.items()]
    return _table(("verb", "what happens"), rows)


def _row(kind: Kind) -> tuple[str, ...]:
    other = differing(kind.profile)
    values = [SHORT.get(str(kind.profile[axis]), str(kind.profile[axis])) for axis in COLUMNS]
    values = [f"**{value}**" if axis in other else value for axis, value in zip(COLUMNS, values, strict=True)]
    besides = ", ".join(f"**{axis} {value}**" for axis, value in other.items() if axis not in COLUMNS)
    return (f"`{kind.name}`", *values, besides, kind.what, kind.where)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
