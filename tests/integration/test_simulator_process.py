"""The simulator as a process: what it prints, and how it ends."""

import re
import signal
import socket
import time
from datetime import UTC, datetime

import aiohttp
import pytest

from tair_simulator.__main__ import main
from tair_simulator.signature import SignedRequest, body_hash
from tests.integration.simulator_client import signed
from tests.integration.simulator_process import SimulatorProcess, running_simulator


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_and_one_line_is_all_it_prints(number: signal.Signals) -> None:
    with running_simulator() as simulator:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", simulator.url)
        assert simulator.stop(number) == (0, "", "")


async def test_a_broken_connection_leaves_no_trace_in_the_output() -> None:
    with running_simulator() as simulator:
        async with aiohttp.ClientSession() as session:
            fault = {"action": "*", "kind": "reset-after"}
            async with session.post(f"{simulator.url}/_simulator/faults", json=fault) as response:
                assert response.status == 201
            with pytest.raises(aiohttp.ClientError):
                # Not GET: aiohttp sends that a second time by itself when a connection that it used before breaks.
                await session.post(simulator.url, headers=signed_headers(simulator))

        assert simulator.stop() == (0, "", "")


def test_an_address_that_is_taken_ends_the_process_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port}: " in capsys.readouterr().err


def test_half_a_request_does_not_hold_up_the_end() -> None:
    with running_simulator() as simulator, socket.create_connection(address(simulator)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()

        assert simulator.stop() == (0, "", "")
        assert time.monotonic() - started < 10


def address(simulator: SimulatorProcess) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = simulator.endpoint.partition(":")
    return host, int(port)


def signed_headers(simulator: SimulatorProcess) -> dict[str, str]:
    """Return the headers of a genuine request without parameters."""
    headers = {
        "host": simulator.endpoint,
        "x-acs-action": "DescribeInstances",
        "x-acs-content-sha256": body_hash(b""),
        "x-acs-date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": "once",
        "x-acs-version": "2015-01-01",
    }
    return dict(signed(SignedRequest("POST", "/", "", headers, b""), "demoAccessKeySecret", "demoAccessKeyId").headers)
