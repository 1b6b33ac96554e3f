"""Writes docs/transactions.md from the proxy's own tables: `python -m docs.diagrams`.

The invariant: an arrow is in the page if and only if it is in `proxy.core.transaction.TABLES`. An action that has no
words here is a KeyError, so that nothing is left out unseen.
"""

from __future__ import annotations

from pathlib import Path

from proxy.core import transaction as machine
from proxy.core.transaction import ACCEPTED, CALLING, COMPLETED, CONFIRMED, PROCEEDING, TABLES, TRYING, Action, Times

PAGE = Path(__file__).parent / "transactions.md"

INTRO = """# The transaction machines

<!-- Written by `python -m docs.diagrams` from proxy/core/transaction.py: edit that, not this. -->

Every request that the proxy forwards has a server transaction on the side where it came from and a client transaction
for each branch (RFC 3261 §17, with RFC 6026's Accepted state). An arrow is `input / actions`. What is not drawn is
absorbed: nothing is sent, told or started. "The user" is the response context of `proxy/core/forking.py`.

On TCP and TLS nothing is retransmitted (A, E and G never run), and D, I, J and K are 0.
"""

# (figure, how it begins, in which state)
BEGINNINGS = {
    "INVITE client": ("RFC 3261 figure 5, RFC 6026 §7.2", "send the INVITE, start A and B", CALLING),
    "non-INVITE client": ("RFC 3261 figure 6", "send the request, start E and F", TRYING),
    "INVITE server": ("RFC 3261 figure 7, RFC 6026 §7.1", "INVITE / tell the user, who sends 100", PROCEEDING),
    "non-INVITE server": ("RFC 3261 figure 8, RFC 4320", "request / tell the user", TRYING),
}
RETRANSMITS = {"INVITE client": "A", "non-INVITE client": "E", "INVITE server": "G"}
ENDS = {
    "INVITE client": {CALLING: "B", COMPLETED: "D", ACCEPTED: "M"},
    "non-INVITE client": {TRYING: "F", PROCEEDING: "F", COMPLETED: "K"},
    "INVITE server": {COMPLETED: "H", CONFIRMED: "I", ACCEPTED: "L"},
    "non-INVITE server": {COMPLETED: "J"},
}
INPUTS = {
    machine.REQUEST: "the request again",
    machine.ACK: "ACK",
    machine.PROVISIONAL: "1xx",
    machine.SUCCESS: "2xx",
    machine.FAILURE: "300-699",
    machine.ERROR: "cannot send",
}
# "" is what only lets go of memory, or what the arrow to "terminated" says already.
ACTIONS: dict[Action, str] = {
    machine.send: "send {what}",
    machine.pass_by: "send it",
    machine.tell: "tell the user",
    machine.tell_timeout: "tell the user 408",
    machine.tell_error: "tell the user 503",
    machine.acknowledge: "send ACK",
    machine.stop: "stop timers",
    machine.let_go: "",
    machine.let_go_of_all: "",
    machine.end: "",
    machine.run_retransmit: "start {again}",
    machine.double: "start {again}, doubled",
    machine.double_to_t2: "start {again}, doubled up to T2",
    machine.again_at_t2: "start {again} at T2",
    machine.give_up: "start {end}",
    machine._linger: "start {end}",
    machine._linger_d: "start {end}",
    machine._linger_t4: "start {end}",
}


def label(name: str, state: str, happened: str) -> str:
    """Return what is written on one arrow."""
    after, actions = TABLES[name][state][happened]
    again, ends = RETRANSMITS.get(name, ""), ENDS[name]
    if happened == machine.RETRANSMIT:
        cause = f"timer {again}"
    elif happened == machine.TIMEOUT:
        cause = f"timer {ends[state]}" if state in ends else "64*T1 without an answer"
    else:
        cause = INPUTS[happened]
    if name.endswith("server"):
        what = "it" if happened in {machine.PROVISIONAL, machine.SUCCESS, machine.FAILURE} else "the last response"
    else:
        what = "the ACK again" if state == COMPLETED else "the request again"
    words = [ACTIONS[action].format(what=what, again=again, end=ends.get(after, "")) for action in actions]
    done = ", ".join(word for word in words if word)
    return f"{cause} / {done}" if done else cause


def diagram(name: str) -> str:
    """Return one machine as Mermaid text."""
    _, beginning, first = BEGINNINGS[name]
    lines = ["stateDiagram-v2", f"    [*] --> {first}: {beginning}"]
    for state, row in TABLES[name].items():
        lines += [f"    {state} --> {row[happened][0]}: {label(name, state, happened)}" for happened in row]
    return "\n".join([*lines, f"    {machine.TERMINATED} --> [*]"])


def timers(times: Times) -> str:
    """Return the table of timers with their values (RFC 3261 Table 4)."""
    t1, t2, t4, most = f"{times.t1:g} s", f"{times.t2:g} s", f"{times.t4:g} s", f"{times.give_up:g} s"
    rows = [
        ("T1", "round-trip time", t1),
        ("T2", "longest interval between retransmissions", t2),
        ("T4", "longest that a message stays in the network", t4),
        ("A", "INVITE client: send again", f"{t1}, then twice as long each time"),
        ("B", "INVITE client: nobody answers", f"64*T1 = {most}"),
        ("C", "a branch rings too long (§16.8)", f"{times.c:g} s after the last 101-199, or the 100"),
        ("D", "INVITE client: absorb copies of a failure", f"64*T1, but {machine.D_S:g} s at the least"),
        ("E", "non-INVITE client: send again", f"{t1}, doubled up to T2; T2 = {t2} after a 1xx"),
        ("F", "non-INVITE client: nobody answers", f"64*T1 = {most}"),
        ("G", "INVITE server: send the failure again", f"{t1}, doubled up to T2"),
        ("H", "INVITE server: no ACK comes", f"64*T1 = {most}"),
        ("I", "INVITE server: absorb copies of the ACK", f"T4 = {t4}"),
        ("J", "non-INVITE server: absorb copies of the request", f"64*T1 = {most}"),
        ("K", "non-INVITE client: absorb copies of the response", f"T4 = {t4}"),
        ("L", "INVITE server: pass on every 2xx (RFC 6026)", f"64*T1 = {most}"),
        ("M", "INVITE client: hear every 2xx (RFC 6026)", f"64*T1 = {most}"),
        ("", "a non-INVITE gets its 100 (RFC 4320 §4.1)", f"{times.late_trying:g} s: when Timer E has come to T2"),
        ("", "a CANCEL leads to nothing (§9.1)", f"64*T1 = {most}"),
    ]
    return "\n".join(["| timer | what for | value |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def page() -> str:
    """Return the whole page."""
    machines = [
        f"## {name[0].upper()}{name[1:]}\n\n{BEGINNINGS[name][0]}\n\n```mermaid\n{diagram(name)}\n```\n"
        for name in TABLES
    ]
    table = f"## Timers\n\nAs they are without a word in the configuration:\n\n{timers(Times())}\n"
    return "\n".join([INTRO, *machines, table])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
