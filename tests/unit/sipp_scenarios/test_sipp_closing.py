"""A phone has left when the other end has heard that its connections were closed."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from sipp_scenarios import sipp

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"
ROW = "   0: 6401A8C0:EA36 0A3364C6:13C5 {} 00000001:00000000\n"


@pytest.mark.parametrize("state", ["04", "09", "0B"])
def test_it_waits_while_a_fin_is_on_its_way_and_not_for_ever(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sipp, "CLOSED_S", 60.0)
    table = tmp_path / "tcp"
    table.write_text(HEAD + ROW.format("01") + ROW.format(state))
    waiting = threading.Thread(target=sipp.await_closed, args=(table,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    table.write_text(HEAD + ROW.format("01") + ROW.format("05"))  # FIN_WAIT2: it was heard
    waiting.join(5)
    assert not waiting.is_alive()
    monkeypatch.setattr(sipp, "CLOSED_S", 0.0)
    table.write_text(HEAD + ROW.format(state))
    sipp.await_closed(table)


def test_a_connection_that_was_closed_and_heard_of_is_not_waited_for() -> None:
    """The kernel's own table, in its own words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            client.shutdown(socket.SHUT_WR)
            assert accepted.recv(1) == b""
            sipp.await_closed()
        accepted.close()
