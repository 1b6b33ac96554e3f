"""`python -m proxy` as a user meets it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy import config
from proxy.log import STRANGERS_LINES_PER_S
from tests.unit.process import ROOT, environment, free_port, run, serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_that_it_listens_answers_and_stops_cleanly(number: int) -> None:
    with serving() as proxy:
        assert proxy.line() == f"SIP proxy listening on 127.0.0.1:{proxy.port} (udp)"
        assert proxy.ask(proxy.options(1)).startswith(b"SIP/2.0 200 OK\r\n")
        assert run("ping", port=proxy.port).returncode == 0
        status, out, err = proxy.stop(number)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("SIP proxy stopped requests=2")


def test_a_signal_right_after_the_greeting_stops_it_cleanly() -> None:
    with serving() as proxy:
        proxy.line()
        assert proxy.stop(signal.SIGINT)[0] == 0


def test_nobody_answers_a_ping_where_nobody_listens() -> None:
    done = run("ping", port=free_port())
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(("verb", "needs_them"), [("ping", False), ("check", True)])
def test_a_ping_needs_neither_engine_nor_sockets_of_ours(verb: str, needs_them: bool) -> None:
    """A health check asks every 100 ms until the proxy is there: it must cost next to nothing."""
    asking = f"import sys; from proxy.cli import main; main(['{verb}']); print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asking], cwd=ROOT, env=environment(free_port()), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"asyncio", "ssl", "sqlite3", "proxy.core.engine", "proxy.net.shell"}
    assert heavy & loaded == (heavy if needs_them else set())


def test_a_port_that_is_taken_is_one_line_and_exit_2_before_the_journal_is_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run(port=port, SIP_PROXY_STATE=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"proxy: cannot listen on 127.0.0.1:{port} (udp): Address already in use; ")


def test_what_it_does_with_media_and_to_whom_it_mirrors_is_told_at_the_start() -> None:
    with serving(SIP_PROXY_RELAY="auto", SIP_PROXY_RELAY_PORTS="30000-30039", SIP_PROXY_HEP="127.0.0.1:9") as proxy:
        greeting = proxy.lines_until("SIP proxy mirrors every message to 127.0.0.1:9 (HEP3)")
        assert "SIP proxy relays media (auto) by ports 30000-30039" in greeting


def test_an_address_of_another_machine_is_one_line_and_exit_2() -> None:
    done = run(SIP_PROXY_IP="198.51.100.10")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_wrong_settings_are_one_line_each_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('log = "loud"\ncolour = "red"\n', encoding="utf-8")
    done = run("--config", str(path), SIP_PROXY_IP="here", UA_MAPPING="{", SIP_PROXY_WITHOUT="sleep")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("proxy: ") for line in lines)
    for name in ("SIP_PROXY_IP='here'", "UA_MAPPING='{'", "SIP_PROXY_WITHOUT='sleep'", "log='loud'", "colour"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_all_interfaces_without_an_address_to_advertise_is_one_line_and_exit_2() -> None:
    done = run(SIP_PROXY_IP="0.0.0.0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "SIP_PROXY_ADVERTISE" in line


def test_all_interfaces_with_one_serve() -> None:
    with serving(SIP_PROXY_IP="0.0.0.0", SIP_PROXY_ADVERTISE="127.0.0.1") as proxy:
        assert proxy.line() == f"SIP proxy listening on 0.0.0.0:{proxy.port} (udp)"
        assert proxy.ask(proxy.options(1)).startswith(b"SIP/2.0 200 ")


def test_a_file_of_settings_is_obeyed_and_remedies_that_are_off_are_named(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('without = ["rport", "contact"]\n', encoding="utf-8")
    with serving("--config", str(path)) as proxy:
        assert proxy.lines_until("SIP proxy without")[-1] == "SIP proxy without rport, contact"


@pytest.mark.parametrize("arguments", [("dance",), ("--loud",)])
def test_an_unknown_verb_or_option_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_help_names_every_setting() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("SIP_PROXY_IP", "SIP_PROXY_PORT", "SIP_PROXY_ADVERTISE", "SIP_PROXY_DOMAINS", "UA_MAPPING"):
        assert name in done.stdout


def test_bad_datagrams_are_answered_or_dropped_with_a_line_and_it_lives_on() -> None:
    with serving() as proxy:
        proxy.lines_until("SIP proxy keeps its bindings in memory")
        proxy.asker.send(b"")
        without_via = b"OPTIONS sip:x SIP/2.0\r\n\r\n"
        for number, data in enumerate((b"hello", bytes(range(255, -1, -1)), b"\xff" * 60_000, without_via)):
            proxy.asker.send(data)
            assert proxy.line().startswith("message-dropped reason=")
            assert proxy.ask(proxy.options(number)).startswith(b"SIP/2.0 200 ")
        malformed = proxy.options(9).replace(b"CSeq: 1", b"CSeq: one")
        assert proxy.ask(malformed).startswith(b"SIP/2.0 400 Bad CSeq\r\n")
        assert proxy.line().startswith("request-refused call_id=9 ")
        extra = proxy.options(10) + b"x" * 60_000  # behind the body: cut (RFC 3261 §18.3)
        assert proxy.ask(extra.replace(b"\r\n\r\n", b"\r\nl: 0\r\n\r\n", 1)).startswith(b"SIP/2.0 200 ")
        status, _, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")


def test_a_flood_of_rubbish_fills_no_log() -> None:
    with serving() as proxy:
        proxy.line()
        began = time.monotonic()
        for number in range(20):
            for _ in range(10):
                proxy.asker.send(b"rubbish")
            assert proxy.ask(proxy.options(number)).startswith(b"SIP/2.0 200 ")  # all before it has been read
        seconds = int(time.monotonic() - began) + 2
        status, out, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")
    assert "not-sip=200" in out
    assert 0 < out.count("message-dropped") <= seconds * STRANGERS_LINES_PER_S


# The other verbs


def test_check_says_what_the_settings_mean(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('port = 5070\nwithout = ["rport"]\n', encoding="utf-8")
    done = run("check", "--config", str(path), SIP_PROXY_DOMAINS="example.org")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert rows["port"].endswith("SIP_PROXY_PORT"), "the environment of this test sets it, and it wins"
    assert rows["without"].endswith(f"{path}: without")
    assert rows["domains"].endswith("SIP_PROXY_DOMAINS")
    assert rows["t1"].endswith("default")
    assert "asks for no passwords" in done.stdout
    assert "goes without these NAT remedies: rport" in done.stdout
    assert "listens on 127.0.0.1:5060 (tcp)" in done.stdout


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SIP_PROXY_USERS": "/nowhere/users"}, "/nowhere/users"),
        ({"SIP_PROXY_TLS_CERTIFICATE": "/nowhere/c.pem", "SIP_PROXY_TLS_KEY": "/nowhere/k.pem"}, "/nowhere/c.pem"),
        ({"SIP_PROXY_TLS_CERTIFICATE": "/nowhere/c.pem"}, "SIP_PROXY_TLS_KEY"),
        ({"SIP_PROXY_EXPIRES_MIN": "3600", "SIP_PROXY_EXPIRES_DEFAULT": "60"}, "SIP_PROXY_EXPIRES_MIN"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "serve"])
def test_what_cannot_work_is_one_line_and_exit_2(verb: str, settings: dict[str, str], said: str) -> None:
    done = run(verb, port=free_port(), **settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_a_key_that_others_can_read_is_one_line_and_exit_2(verb: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "key").chmod(0o644)
    done = run(verb, port=free_port(), SIP_PROXY_STATE=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "others can read" in line


def test_two_addresses_that_others_cannot_tell_apart_are_one_line_and_exit_2() -> None:
    done = run("check", SIP_PROXY_IP="127.0.0.1,127.0.0.2", SIP_PROXY_ADVERTISE="127.0.0.9")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_it_serves_both_ip_versions_at_once() -> None:
    with serving(SIP_PROXY_IP="127.0.0.1,::1") as proxy:
        lines = proxy.lines_until("SIP proxy keeps its bindings")
        assert f"SIP proxy listening on ::1:{proxy.port} (udp)" in lines
        assert proxy.ask(proxy.options(1)).startswith(b"SIP/2.0 200 ")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asker:
            asker.settimeout(20)
            asker.sendto(proxy.options(2).replace(b"127.0.0.1", b"[::1]"), ("::1", proxy.port))
            answer = asker.recv(65536)
        assert answer.startswith(b"SIP/2.0 200 ")
        assert b";received=::1" in answer


def test_a_log_whose_reader_has_gone_costs_no_answer() -> None:
    with serving() as proxy:
        proxy.lines_until("SIP proxy keeps its bindings")
        assert proxy.process.stdout is not None
        proxy.process.stdout.close()
        for number in range(1, 20):
            assert proxy.ask(proxy.register(f"user{number}", 1)).startswith(b"SIP/2.0 200 ")


def test_the_example_has_every_setting_and_is_what_the_repository_shows(tmp_path: Path) -> None:
    done = run("example")
    assert done.stdout == (ROOT / "proxy" / "example.toml").read_text(encoding="utf-8")
    path = tmp_path / "proxy.toml"
    loud = "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in done.stdout.splitlines()
    )
    path.write_text(loud, encoding="utf-8")
    settings, origins = config.load({}, path)
    assert settings == config.Settings()
    assert len(origins) == len(config.KEYS)


def test_a_user_is_added_asked_for_a_password_reloaded_and_removed(tmp_path: Path) -> None:
    users = tmp_path / "users"
    known = {"SIP_PROXY_USERS": str(users), "SIP_PROXY_REALM": "here"}
    done = run("user", "add", "alice", stdin="secret\n", **known)
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" not in users.read_text(encoding="utf-8")
    with serving(**known) as proxy:
        proxy.lines_until("SIP proxy keeps its bindings")
        answer = proxy.ask(proxy.register("alice", 1))
        assert answer.startswith(b"SIP/2.0 401 Unauthorized")
        assert b'realm="here"' in answer
        assert run("user", "add", "bob", stdin="hidden\n", **known).returncode == 0
        proxy.process.send_signal(signal.SIGHUP)
        assert proxy.line() == f"SIP proxy reloaded {users}: 2 users"
        users.write_text("rubbish\n", encoding="utf-8")
        proxy.process.send_signal(signal.SIGHUP)
        assert proxy.line().startswith("SIP proxy keeps its users: ")
        assert proxy.ask(proxy.register("alice", 2)).startswith(b"SIP/2.0 401 ")


def test_a_user_without_a_file_or_a_password_is_one_line_and_exit_2(tmp_path: Path) -> None:
    for arguments, settings in (
        (("user", "add", "alice"), {}),
        (("user", "add", "alice"), {"SIP_PROXY_USERS": str(tmp_path / "users")}),
        (("user", "remove", "alice"), {"SIP_PROXY_USERS": str(tmp_path / "users")}),
        (("user", "add", "a:b"), {"SIP_PROXY_USERS": str(tmp_path / "users")}),
    ):
        done = run(*arguments, stdin="x\n" if "a:b" in arguments else "", **settings)
        assert done.returncode == 2, arguments
        assert len(done.stderr.splitlines()) == 1, done.stderr


# Operation


def test_the_pages_are_there_and_read_only() -> None:
    port = free_port()
    with serving(SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        proxy.lines_until("SIP proxy keeps its bindings")
        assert proxy.ask(proxy.register("alice", 1)).startswith(b"SIP/2.0 200 ")
        assert proxy.page("/healthz", port) == (200, "ok\n")
        metrics = proxy.page("/metrics", port)[1]
        assert "\nsip_proxy_bindings 1\n" in metrics
        assert "\nsip_proxy_registrations_total 1\n" in metrics
        registrations = json.loads(proxy.page("/registrations", port)[1])
        assert registrations["total"] == 1
        assert registrations["bindings"][0]["aor"] == "alice"
        assert proxy.page("/secrets", port)[0] == 404
        with socket.create_connection(("127.0.0.1", port), 20) as asker:
            asker.sendall(b"POST /metrics HTTP/1.1\r\n\r\n")
            assert asker.recv(65536).startswith(b"HTTP/1.1 405 ")
        assert proxy.stop(signal.SIGTERM)[0] == 0


def test_a_port_for_pages_that_is_taken_is_one_line_and_exit_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(port=free_port(), SIP_PROXY_HTTP_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "SIP_PROXY_HTTP_PORT" in line


def test_a_log_for_programs_is_json_a_line() -> None:
    with serving(SIP_PROXY_LOG_FORMAT="json") as proxy:
        assert json.loads(proxy.line())["event"] == "proxy"
        proxy.asker.send(b"rubbish")
        while (event := json.loads(proxy.line()))["event"] != "message-dropped":
            pass
        assert event["reason"] == "not-sip"


@pytest.mark.parametrize("flush", ["0", "0.05"])
def test_killed_at_any_moment_it_comes_back_with_what_it_had_confirmed(tmp_path: Path, flush: str) -> None:
    known = {"SIP_PROXY_STATE": str(tmp_path / "state"), "SIP_PROXY_FLUSH": flush}
    with serving(**known) as proxy:
        proxy.lines_until("SIP proxy journal")
        for number in range(20):
            assert proxy.ask(proxy.register(f"user{number}", 1)).startswith(b"SIP/2.0 200 ")
        if flush != "0":  # what it promises is what was confirmed more than an interval ago
            assert proxy.stop(signal.SIGTERM)[0] == 0
        else:
            proxy.process.kill()
            proxy.process.wait()
    with serving(**known) as proxy:
        assert proxy.lines_until("SIP proxy journal")[-1].endswith("bindings.sqlite: 20 bindings")
    assert (tmp_path / "state" / "key").stat().st_mode & 0o777 == 0o600


def test_a_broken_journal_is_put_aside_and_it_serves_all_the_same(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "bindings.sqlite").write_bytes(b"this is no database" * 100)
    with serving(SIP_PROXY_STATE=str(state)) as proxy:
        lines = proxy.lines_until("SIP proxy journal")
        assert any("bindings.sqlite" in line and "broken" in line for line in lines), lines
        assert proxy.ask(proxy.register("alice", 1)).startswith(b"SIP/2.0 200 ")
    assert [path for path in state.iterdir() if ".broken-" in path.name]


def test_a_stop_takes_no_new_calls_and_lets_those_that_are_set_up_finish() -> None:
    """The callee is a socket of ours: it answers when the proxy has been told to stop."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as callee,
        serving(SIP_PROXY_DRAIN="20") as proxy,
    ):
        callee.bind(("127.0.0.1", 0))
        callee.settimeout(20)
        contact = "sip:bob@%s:%d" % callee.getsockname()
        proxy.lines_until("SIP proxy keeps its bindings")
        callee.sendto(proxy.register("bob", 1, contact), ("127.0.0.1", proxy.port))
        assert callee.recv(65536).startswith(b"SIP/2.0 200 ")
        invite = proxy.options(1).replace(b"OPTIONS sip:", b"INVITE sip:bob@").replace(b"1 OPTIONS", b"1 INVITE")
        assert proxy.ask(invite).startswith(b"SIP/2.0 100 ")
        arrived, source = callee.recvfrom(65536)
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.lines_until("SIP proxy stopping")[-1].startswith("SIP proxy stopping: 1 requests wait")
        refused = proxy.ask(invite.replace(b"z9hG4bK1", b"z9hG4bK2").replace(b"Call-ID: 1", b"Call-ID: 2"))
        assert refused.startswith(b"SIP/2.0 503 ")
        assert b"Retry-After: " in refused
        head = [line for line in arrived.split(b"\r\n")[1:] if line.split(b":")[0] in
                {b"Via", b"From", b"Call-ID", b"CSeq", b"To"}]  # fmt: skip
        callee.sendto(b"\r\n".join([b"SIP/2.0 486 Busy Here", *head, b"", b""]), source)
        assert proxy.asker.recv(65536).startswith(b"SIP/2.0 486 ")
        out, _ = proxy.process.communicate(timeout=20)
        assert proxy.process.returncode == 0
        assert b"SIP proxy stopped" in out
