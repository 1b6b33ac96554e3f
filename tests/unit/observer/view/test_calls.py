"""How far a call came, by its messages."""

from __future__ import annotations

import pytest

from observer.decode import Sighting
from observer.view.calls import callee, progress
from tests.unit.observer.sightings import ALICE, PROXY, lines, sighting, via_alice


def messages(*first_lines: str) -> list[Sighting]:
    """Return messages of one call, a second after another; `INVITE` stands for the request."""
    found = []
    method = first_lines[0]
    for number, line in enumerate(first_lines):
        is_request = line.isalpha()
        method = line if is_request else method
        whole = f"{line} sip:bob@example.org SIP/2.0" if is_request else f"SIP/2.0 {line}"
        cseq = f"1 {method}"
        found.append(sighting("nat-lan", ALICE, PROXY, *lines(whole, [via_alice("i")], "c", cseq), time=float(number)))
    return found


@pytest.mark.parametrize(
    ("first_lines", "state", "status"),
    [
        (["INVITE"], "trying", ""),
        (["INVITE", "100 Trying"], "trying", ""),
        (["INVITE", "180 Ringing"], "ringing", ""),
        (["INVITE", "183 Session Progress", "200 OK"], "up", "200 OK"),
        (["INVITE", "200 OK", "ACK", "BYE"], "ended", "200 OK"),
        (["INVITE", "486 Busy Here", "ACK"], "failed", "486 Busy Here"),
        (["INVITE", "407 Proxy Authentication Required"], "failed", "407 Proxy Authentication Required"),
        (["INVITE", "407 Proxy Authentication Required", "INVITE"], "trying", "407 Proxy Authentication Required"),
        (["INVITE", "180 Ringing", "487 Request Terminated"], "ended", "487 Request Terminated"),
        (["REGISTER", "200 OK"], "done", "200 OK"),
        (["REGISTER", "403 Forbidden"], "failed", "403 Forbidden"),
        (["MESSAGE"], "trying", ""),
    ],
)
def test_the_state_is_how_far_it_came(first_lines: list[str], state: str, status: str) -> None:
    assert progress(messages(*first_lines))[:2] == (state, status)


def test_a_call_is_up_from_its_200_to_its_bye() -> None:
    *_, up, down = progress(messages("INVITE", "180 Ringing", "200 OK", "ACK", "BYE"))
    assert (up, down) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("to", "uri", "name"),
    [("To: <sip:bob@example.org>;tag=1", "sip:x@y", "bob"), ("t: sip:bob@example.org", "sip:x@y", "bob"),
     ("To: <sip:example.org>", "sip:carol@y", "carol"),
     ("To: <sip:example.org>", "sip:example.org:5070", "example.org:5070")],
)  # fmt: skip
def test_whom_a_call_is_for_is_in_its_to(to: str, uri: str, name: str) -> None:
    invite = lines(f"INVITE {uri} SIP/2.0", [via_alice("i")], "c", "1 INVITE", to)
    assert callee(sighting("nat-lan", ALICE, PROXY, *invite)) == name
