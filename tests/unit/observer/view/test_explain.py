"""Every change of the lab's own calls is explained, with the RFC where it stands."""

from __future__ import annotations

import pytest

from observer.changes import ADDED, ADDRESS, CHANGED, REMOVED, Change
from observer.view.explain import ALG, PROXY, REQUEST, RESPONSE, ROUTER, TABLE, explain
from tests.unit.observer.view.views import drawn

VIA = "SIP/2.0/UDP 10.77.1.100:5060;rport;branch=z9hG4bKi"


def test_nothing_in_a_good_call_is_without_a_reason() -> None:
    changes = [each for call in drawn()["calls"] for arrow in call["arrows"] for each in arrow["changes"]]
    assert len(changes) > 50
    assert [each for each in changes if not each["why"] or not each["rfc"].startswith("RFC ")] == []


@pytest.mark.parametrize(
    ("change", "by", "of", "words", "rfc"),
    [
        (Change(CHANGED, "Via", VIA, VIA.replace("rport", "rport=50003") + ";received=198.51.100.20"), PROXY, REQUEST,
         "`rport=50003` and `received=198.51.100.20` are what the packet's source was", "RFC 3581 §4"),
        (Change(CHANGED, "v", VIA, VIA.replace("rport", "rport=50003")), PROXY, REQUEST, "`rport=50003`",
         "RFC 3581 §4"),
        (Change(CHANGED, "Via", VIA, VIA + ";received=198.51.100.20"), PROXY, REQUEST, "`received=198.51.100.20`",
         "RFC 3261 §18.2.1"),
        (Change(CHANGED, "Via", "SIP/2.0/UDP 198.51.100.200:5060;rport;branch=b",
                "SIP/2.0/UDP 198.51.100.200:5060;rport=5060;branch=b;received=198.51.100.200"), PROXY, REQUEST,
         "no NAT stands in between", "RFC 3581 §4"),
        (Change(ADDED, "Via", "", "SIP/2.0/UDP 198.51.100.10:5060;branch=b"), PROXY, REQUEST, "its own Via on top",
         "RFC 3261 §16.6 step 8"),
        (Change(REMOVED, "Via", "SIP/2.0/UDP 198.51.100.10:5060;branch=b", ""), PROXY, RESPONSE, "its own Via off",
         "RFC 3261 §16.7 step 3"),
        (Change(ADDED, "Record-Route", "", "<sip:198.51.100.10;lr>"), PROXY, REQUEST, "asks to stay in the way",
         "RFC 3261 §16.6 step 4"),
        (Change(ADDED, "Record-Route", "", "<sip:198.51.100.10;lr;r2=on>"), PROXY, REQUEST, "another transport",
         "RFC 5658 §4.1"),
        (Change(CHANGED, "Contact", "<sip:alice@10.77.1.100:5060>", "<sip:alice@198.51.100.20:50003;behind=x>"), PROXY,
         REQUEST, "The phone says 10.77.1.100:5060, which nobody outside", "RFC 3261 §8.1.1.8"),
        (Change(CHANGED, "Contact", "<sip:alice@198.51.100.20:50003;behind=x>", "<sip:alice@10.77.1.100:5060>"), PROXY,
         RESPONSE, "its own Contact back", "RFC 3261 §10.3 step 8"),
        (Change(CHANGED, "first line", "BYE sip:a@198.51.100.20:5;behind=x SIP/2.0", "BYE sip:a@10.0.0.1 SIP/2.0"),
         PROXY, REQUEST, "turned back into the phone's own", "RFC 3261 §16.5"),
        (Change(CHANGED, "Max-Forwards", "70", "69"), PROXY, REQUEST, "One hop fewer", "RFC 3261 §16.6 step 3"),
        (Change(REMOVED, "Route", "<sip:198.51.100.10;lr>", ""), PROXY, REQUEST, "done its service", "RFC 3261 §16.4"),
        (Change(REMOVED, "Proxy-Authorization", "Digest x", ""), PROXY, REQUEST, "password", "RFC 3261 §22.3"),
        (Change(CHANGED, "c=", "c=IN IP4 10.77.1.100", "c=IN IP4 198.51.100.10"), PROXY, REQUEST, "passes the media on",
         "RFC 8866 §5.7"),
        (Change(CHANGED, "m=", "m=audio 6000 RTP/AVP 0", "m=audio 30000 RTP/AVP 0"), PROXY, REQUEST, "30000",
         "RFC 8866 §5.14"),
        (Change(CHANGED, "a=", "a=rtcp:6001", "a=rtcp:30001"), PROXY, REQUEST, "RTCP", "RFC 3605 §2.1"),
        (Change(CHANGED, "Content-Length", "129", "131"), PROXY, REQUEST, "its length", "RFC 3261 §20.14"),
        (Change(ADDRESS, "source", "10.77.1.100:5060", "198.51.100.20:50003"), ROUTER, REQUEST,
         "in the place of 10.77.1.100:5060", "RFC 3022 §2.2"),
        (Change(ADDRESS, "destination", "198.51.100.20:50003", "10.77.1.100:5060"), ROUTER, RESPONSE, "a mapping for",
         "RFC 4787 §5"),
        (Change(CHANGED, "Via", VIA, VIA.replace("10.77.1.100", "198.51.100.20")), ALG, REQUEST, "reads SIP",
         "RFC 4787 §7"),
        (Change(CHANGED, "c=", "c=IN IP4 10.77.1.100", "c=IN IP4 198.51.100.20"), ALG, REQUEST, "reads SDP",
         "RFC 4787 §7"),
    ],
)  # fmt: skip
def test_a_change_is_explained_in_a_sentence(change: Change, by: str, of: str, words: str, rfc: str) -> None:
    why, section = explain(change, by, of)
    assert words in why
    assert why.endswith(".")
    assert section == rfc


def test_what_nobody_has_thought_of_is_not_explained() -> None:
    assert explain(Change(ADDED, "X-Strange", "", "1"), PROXY, REQUEST) == ("", "")


def test_a_name_in_a_text_is_one_of_its_patterns() -> None:
    for row in TABLE:
        named = {name for name in ("rport", "received", "user", "host") if f"{{{name}}}" in row.text}
        assert all(f"(?P<{name}>" in row.before + row.after for name in named), row
