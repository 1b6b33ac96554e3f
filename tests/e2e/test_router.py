"""The router at run time: what `natctl` does to it is seen on the wire."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.lab import ROOT, Lab

pytestmark = pytest.mark.e2e

LOOK_S = 60  # before a test that waits for a fact gives up


@pytest.fixture(autouse=True)
def as_it_was(router: Lab) -> Iterator[None]:
    """No test finds what another has done to the router."""
    yield
    router.restore()


def round_trips(lab: Lab, count: int) -> list[str]:
    """Ask the reflector through the router; an answer's milliseconds, or "lost", for each question."""
    return lab.script("alice-home", "round_trip", str(count)).split()


def refusal(lab: Lab, *words: str) -> tuple[int, str]:
    """What natctl says to a user's mistake: exit status and text."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        lab.execute("nat", "natctl", *words)
    return raised.value.returncode, raised.value.stderr


@pytest.mark.alone
def test_a_delay_of_40_ms_each_way_makes_a_round_trip_80_ms_longer(router: Lab) -> None:
    before = statistics.median(map(float, round_trips(router, 9)))
    router.execute("nat", "natctl", "delay", "40")
    after = statistics.median(map(float, round_trips(router, 9)))
    assert 80 <= after - before < 95
    router.execute("nat", "natctl", "delay", "0")
    assert statistics.median(map(float, round_trips(router, 9))) < 40


def test_of_many_packets_the_percentage_that_was_asked_for_is_lost(router: Lab) -> None:
    router.execute("nat", "natctl", "loss", "100")
    assert round_trips(router, 1) == ["lost"]
    router.execute("nat", "natctl", "loss", "10")
    lost = round_trips(router, 120).count("lost")
    # Either way may lose it: 81 of 100 come, and 120 questions are 18 off only once in ten thousand times.
    assert 23 - 18 <= lost <= 23 + 18
    told = re.search(r'"lost": (\d+)', router.execute("nat", "natctl", "show"))
    assert told
    assert int(told[1]) >= lost + 1  # and the one before; what the phones lose meanwhile counts too


def test_a_router_without_netem_and_nfqueue_loses_packets_by_nft(router: Lab) -> None:
    """The queue is taken away; nft and the wire are real."""
    script = (
        "import os\n"
        "from nat import impair, router\n"
        "def none(judge): raise impair.Unsupported('no NFQUEUE here')\n"
        "impair._Queue = none\n"
        "line = impair.Impairments((router.interface_of(os.environ['LAN_IP']),))\n"
    )
    router.execute("nat", "python3", "-c", f"{script}line.set_loss(100)")
    assert round_trips(router, 1) == ["lost"]
    router.execute("nat", "nft", "delete", "table", "ip", "lab_loss")
    assert round_trips(router, 1) != ["lost"]


def typed(*words: str) -> str:
    """Type `./lab` and return what it prints. The shared lab's variables are in the environment."""
    done = subprocess.run(
        [str(ROOT / "lab"), *words], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_typed_outside_is_done_and_what_was_changed_is_measured(router: Lab) -> None:
    said, _, measured = typed("nat", "set", "symmetric").partition("\n")
    assert said == "the router is symmetric now, and remembers nothing"
    assert json.loads(measured)["measured"]["mapping"] == "address-and-port-dependent"
    began = time.monotonic()
    said, _, measured = typed("nat", "lifetime", "3").partition("\n")
    assert json.loads(measured)["measured"]["lifetime"] == 3
    phone = re.escape(f"udp {router.settings.values['ALICE_IP']}:5060")
    row = None
    while row is None:  # on a slow machine her mapping may have expired when it is looked for
        assert time.monotonic() - began < LOOK_S, typed("nat", "show")
        router.register("alice")
        row = re.search(rf"^({phone} +\S+) +\S+ +(\d+) s +(\d+) s$", typed("nat", "show"), re.MULTILINE)
    assert int(row[2]) <= time.monotonic() - began + 1  # she may have registered by herself since then
    assert int(row[3]) <= 3
    assert typed("nat", "flush") == "all mappings are forgotten\n"
    assert row[1] not in typed("nat", "show")  # if she has registered since then, her port is another one


def test_udp_that_is_blocked_fails_a_call_and_it_is_said_why(router: Lab) -> None:
    assert typed("nat", "block-udp") == "UDP is blocked\n"
    run = router.call("--from", "alice")  # whose INVITE gets nowhere: nobody repeats it for half a minute
    assert run.verdict == "fail", run.explain()  # of the router nothing is otherwise: the lab is not broken
    why = r"the router did not pass it on: it passes no UDP since `block-udp` \d+\.\d s before"
    assert re.search(why, run.facts["request-lost-at-router"]), run.facts
    assert typed("nat", "block-udp", "off") == "UDP is passed\n"
    assert router.call("--from", "bob", "--register", "alice").verdict == "pass"


@pytest.mark.alone
def test_the_next_message_that_matches_is_dropped_once_and_comes_again(router: Lab) -> None:
    router.execute("nat", "natctl", "drop-next", "SIP/2.0 200*(INVITE)")
    router.register("alice")
    run = router.call("--from", "bob", "--hangup", "caller")
    answers = [
        seen for seen in run.messages
        if seen["first_line"].startswith("SIP/2.0 200") and seen["cseq"].endswith("INVITE")
    ]  # fmt: skip
    sent = [seen["time"] for seen in answers if seen["tap"] == "nat-lan"]
    passed = [seen["time"] for seen in answers if seen["tap"] == "nat-wan"]
    assert (len(sent), len(passed)) == (2, 1)
    assert 0.45 < passed[0] - sent[0] < 1.0  # T1, after which Alice's phone says it again (RFC 3261 §13.3.1.4)
    shown = router.execute("nat", "natctl", "show")
    assert re.search(r'"first_line": "SIP/2\.0 200', shown), shown


def test_a_router_of_another_kind_forgets_what_it_knew_and_says_so(router: Lab) -> None:
    phone = re.escape(f"udp {router.settings.values['ALICE_IP']}:5060")
    known = re.search(rf"^{phone} +\S+", router.execute("nat", "natctl", "show"), re.MULTILINE)
    assert known
    router.execute("nat", "natctl", "set", "symmetric")
    shown = router.execute("nat", "natctl", "show")
    assert shown.startswith("symmetric: mapping address-and-port-dependent")
    assert known[0] not in shown  # if she has registered since then, her port is another one
    router.execute("alice-home", "remeasure")


def test_mistakes_are_one_line_with_the_nearest_that_is_right(router: Lab) -> None:
    for words, complaint in (
        (("set", "symetric"), "nearest: symmetric"),
        (("set", "mapping=address-dependent,ports=preserved"), "nearest: ports=changed"),
        (("rebin",), "nearest: rebind"),
        (("drop-next",), "takes PATTERN"),
        (("drop-next", "INVTE *"), "nearest: 'INVITE *'"),
        (("loss", "120"), "must be from 0 to 100"),
    ):
        code, said = refusal(router, *words)
        assert code == 2
        assert complaint in said
        assert said.count("\n") == 1


def test_a_router_that_is_not_what_it_claims_is_measured_as_it_is(router: Lab) -> None:
    """The detector detects: somebody takes the guard away behind natctl's back."""
    router.execute("nat", "iptables", "-F", "LAB_INPUT")
    with pytest.raises(subprocess.CalledProcessError) as raised:
        router.execute("alice-home", "remeasure")
    assert raised.value.returncode == 3
    assert "peer-first: declared kept, measured lost" in raised.value.stdout
    run = router.call("--from", "alice")
    assert run.verdict == "lab-broken"
    assert run.failed == {"nat-kind"}, run.explain()


def test_a_way_past_the_router_is_found_at_its_new_address_too(router: Lab) -> None:
    router.execute("nat", "natctl", "change-ip")
    router.execute("core", "ip", "neighbour", "flush", "all")  # who had the old address before is forgotten
    router.execute("nat", "iptables", "-D", "LAB_IN", "-j", "DROP")
    with pytest.raises(subprocess.CalledProcessError) as raised:
        router.execute("alice-home", "remeasure")
    assert raised.value.returncode == 3
    assert "a public host, by the router" in raised.value.stdout


@pytest.mark.long
def test_whatever_was_done_to_the_router_can_be_undone(router: Lab) -> None:
    """The tests of other modules find the lab as it was: this is how."""
    for words in (("change-ip",), ("rebind",), ("set", "symmetric"), ("delay", "5"), ("drop-next", "BYE *")):
        router.execute("nat", "natctl", *words)
    router.restore()
    values = router.settings.values
    shown = router.execute("nat", "natctl", "show")
    assert shown.startswith(f"{values['NAT_TYPE']}: mapping ")
    assert '"delay_ms": 0' in shown
    assert '"pending": []' in shown
    mapping = rf"^udp {re.escape(values['ALICE_IP'])}:5060 +{re.escape(values['NAT_WAN_IP'])}:50\d\d\d "
    assert re.search(mapping, shown, re.MULTILINE), shown
    run = router.call("--from", "bob")
    assert run.verdict == "pass", run.explain()
