"""The simulator over HTTPS, and what it says about certificates that it cannot use."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from alibabacloud_r_kvstore20150101 import models
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_tea_openapi.models import Config
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from tair_simulator.__main__ import main
from tests.integration.simulator_process import SimulatorProcess, running_simulator
from tests.integration.simulator_tls import LOOPBACK, write_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    return write_pair(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture(scope="module")
def simulator(pair: tuple[Path, Path]) -> Iterator[SimulatorProcess]:
    """A simulator that speaks HTTPS."""
    with running_simulator("--tls-cert", str(pair[0]), "--tls-key", str(pair[1])) as running:
        yield running


def test_prints_an_address_that_answers_whoever_trusts_the_certificate(
    simulator: SimulatorProcess, pair: tuple[Path, Path]
) -> None:
    assert simulator.url.startswith(f"https://{LOOPBACK}:")
    context = ssl.create_default_context(cafile=str(pair[0]))
    with urllib.request.urlopen(f"{simulator.url}/_simulator/healthz", context=context, timeout=10) as response:  # noqa: S310 - our own simulator
        assert json.load(response) == {"status": "ok"}


def sdk(simulator: SimulatorProcess, authority: Path | None) -> Client:
    """Return Alibaba's client, which trusts one authority of ours, or only those of the system."""
    return Client(
        Config(
            access_key_id="demoAccessKeyId",
            access_key_secret="demoAccessKeySecret",
            endpoint=simulator.url.removeprefix("https://"),
            protocol="HTTPS",
            ca=authority and str(authority),
        )
    )


def test_the_sdk_describes_instances_over_tls(simulator: SimulatorProcess, pair: tuple[Path, Path]) -> None:
    request = models.DescribeInstancesRequest(region_id="cn-beijing")

    reply = sdk(simulator, pair[0]).describe_instances(request)

    assert [item.instance_id for item in reply.body.instances.kvstore_instance] == ["r-2zexszhcgatnx0005"]


def test_a_connection_breaks_over_tls_too(simulator: SimulatorProcess, pair: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(cafile=str(pair[0]))
    fault = json.dumps({"action": "*", "kind": "reset-after"}).encode()
    with urllib.request.urlopen(f"{simulator.url}/_simulator/faults", fault, context=context, timeout=10) as response:  # noqa: S310 - our own simulator
        assert response.status == 201

    with pytest.raises(Exception, match=r"(?i)connection|reset|aborted|EOF"):
        sdk(simulator, pair[0]).describe_instances(models.DescribeInstancesRequest(region_id="cn-beijing"))


def test_files_that_cannot_be_used_end_the_command_with_2(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, key = (str(file) for file in pair)
    _, foreign = write_pair(tmp_path, "foreign")
    _, encrypted = write_pair(tmp_path, "encrypted", BestAvailableEncryption(b"password"))
    unusable = "must be a PEM certificate and the PEM key that belongs to it, not encrypted"
    cases: list[tuple[list[str], list[str]]] = [
        (["--tls-cert", own], ["--tls-cert and --tls-key: needed both, or none of them"]),
        (["--tls-key", key], ["--tls-cert and --tls-key: needed both, or none of them"]),
        (
            ["--tls-cert", "none.crt", "--tls-key", "none.key"],
            [
                "--tls-cert none.crt: cannot be read: No such file or directory",
                "--tls-key none.key: cannot be read: No such file or directory",
            ],
        ),
        (["--tls-cert", own, "--tls-key", str(foreign)], [f"--tls-cert {own} and --tls-key {foreign}: {unusable}"]),
        (["--tls-cert", own, "--tls-key", str(encrypted)], [f"--tls-cert {own} and --tls-key {encrypted}: {unusable}"]),
        (["--tls-cert", key, "--tls-key", own], [f"--tls-cert {key} and --tls-key {own}: {unusable}"]),
    ]
    for arguments, lines in cases:
        status = main(arguments)

        assert (status, capsys.readouterr().err.splitlines()) == (2, lines)
