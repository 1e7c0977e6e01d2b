"""STS and the metadata server as Alibaba's own packages see them: credential providers, and then the SDK.

The providers insist on HTTPS for STS, and on the address of the real metadata server; the test points both elsewhere.
"""

import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import certifi
import pytest
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider import (
    EcsRamRoleCredentialsProvider,
    OIDCRoleArnCredentialsProvider,
    RamRoleArnCredentialsProvider,
)
from alibabacloud_r_kvstore20150101 import models
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_tea_openapi.models import Config

from tair_simulator.cloud import Cloud
from tair_simulator.operations import OPERATIONS
from tair_simulator.seed import parse_seed
from tests.integration.simulator_process import SimulatorProcess, running_simulator
from tests.integration.simulator_tls import write_pair
from tests.unit.simulator.identity import PROVIDER, Token, provider

READER = "acs:ram::1234567890123456:role/reader"
FAR = "acs:ram::42:role/far"
SEED = f"""
accessKeys:
  user: {{secret: userSecret, policies: [{{effect: Allow, actions: ['sts:AssumeRole']}}]}}
roles:
  {READER}:
    policies: [{{effect: Allow, actions: ['kvstore:Describe*', 'sts:AssumeRole']}}]
    trust:
      accessKeyIds: [user]
      oidc: [{{provider: '{PROVIDER}', subjects: ['system:serviceaccount:shop:orders']}}]
  {FAR}:
    policies: [{{effect: Allow, actions: ['kvstore:Describe*']}}]
    trust: {{roles: ['{READER}']}}
oidcProviders:
  {PROVIDER}: {json.dumps(provider())}
ecs: {{role: reader}}
instances:
  r-night: {{regionId: cn-hangzhou, sslEnabled: true, maintenanceWindow: {{start: '22:30Z', end: '02:30Z'}}}}
  r-unknown: {{regionId: cn-hangzhou, maintenanceWindow: null}}
"""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seed with a role for each way to get one."""
    file = tmp_path_factory.mktemp("seed") / "seed.yaml"
    file.write_text(SEED, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def simulator(seed: Path) -> Iterator[SimulatorProcess]:
    """A simulator over plain HTTP."""
    with running_simulator(seed=seed) as running:
        yield running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    return write_pair(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture(scope="module")
def secure(seed: Path, pair: tuple[Path, Path]) -> Iterator[SimulatorProcess]:
    """The same simulator over HTTPS."""
    with running_simulator("--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), seed=seed) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The token of a ServiceAccount, as Kubernetes mounts it."""
    file = tmp_path / "token"
    file.write_text(str(Token(datetime.now(UTC))), encoding="utf-8")
    return file


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch, pair: tuple[Path, Path]) -> None:
    """Let the providers trust our certificate; they look nowhere but into certifi's bundle."""
    monkeypatch.setattr(certifi, "where", lambda: str(pair[0]))


def by_key(secure: SimulatorProcess, pair: tuple[Path, Path], **arguments: Any) -> RamRoleArnCredentialsProvider:  # noqa: ANN401 - untyped
    """Return the provider that signs AssumeRole with an access key."""
    chosen = {"access_key_id": "user", "access_key_secret": "userSecret", "role_arn": READER, **arguments}
    made = RamRoleArnCredentialsProvider(sts_endpoint=secure.url.removeprefix("https://"), **chosen)
    made._runtime_options["ca"] = str(pair[0])
    return made


def by_token(
    secure: SimulatorProcess,
    pair: tuple[Path, Path],
    token_file: Path,
    **arguments: Any,  # noqa: ANN401 - untyped
) -> OIDCRoleArnCredentialsProvider:
    """Return the provider that exchanges the token in a file."""
    made = OIDCRoleArnCredentialsProvider(
        sts_endpoint=secure.url.removeprefix("https://"),
        role_arn=READER,
        oidc_provider_arn=PROVIDER,
        oidc_token_file_path=str(token_file),
        **arguments,
    )
    made._runtime_options["ca"] = str(pair[0])
    return made


def by_instance(simulator: SimulatorProcess, **arguments: Any) -> EcsRamRoleCredentialsProvider:  # noqa: ANN401 - untyped
    """Return the provider that asks the metadata server, whose address is written into it."""
    made = EcsRamRoleCredentialsProvider(disable_imds_v1=True, async_update_enabled=False, **arguments)
    made._EcsRamRoleCredentialsProvider__metadata_service_host = simulator.endpoint
    return made


def sdk(simulator: SimulatorProcess, credentials: Any, pair: tuple[Path, Path] | None = None) -> Client:  # noqa: ANN401 - untyped
    """Return Alibaba's client with these credentials."""
    scheme, _, endpoint = simulator.url.partition("://")
    return Client(
        Config(
            access_key_id=credentials.get_access_key_id(),
            access_key_secret=credentials.get_access_key_secret(),
            security_token=credentials.get_security_token(),
            endpoint=endpoint,
            protocol=scheme.upper(),
            ca=pair and str(pair[0]),
        )
    )


def attribute(client: Client, instance_id: str = "r-night") -> Any:  # noqa: ANN401 - untyped
    """Return what the SDK reads from DescribeInstanceAttribute."""
    request = models.DescribeInstanceAttributeRequest(instance_id=instance_id)
    (item,) = client.describe_instance_attribute(request).body.instances.dbinstance_attribute
    return item


def refused(call: Callable[[], object]) -> Any:  # noqa: ANN401 - untyped
    """Return the exception that the SDK raises for a refusal."""
    with pytest.raises(Exception, match=r"Error: |code: ") as caught:
        call()
    return caught.value


def test_an_access_key_gets_a_role_and_may_what_the_role_may(secure: SimulatorProcess, pair: tuple[Path, Path]) -> None:
    client = sdk(secure, by_key(secure, pair, role_session_name="a@b.c").get_credentials(), pair)

    error = refused(
        lambda: client.release_direct_connection(models.ReleaseDirectConnectionRequest(instance_id="r-night"))
    )

    assert attribute(client).instance_id == "r-night"
    assert (error.code, error.status_code) == ("Forbidden.RAM", 403)
    assert error.access_denied_detail["AuthPrincipalType"] == "AssumedRoleUser"
    assert error.access_denied_detail["AuthPrincipalDisplayName"] == "reader:a@b.c"


def test_temporary_credentials_get_another_role(secure: SimulatorProcess, pair: tuple[Path, Path]) -> None:
    chained = by_key(secure, pair, credentials_provider=by_key(secure, pair), role_arn=FAR)

    assert attribute(sdk(secure, chained.get_credentials(), pair)).instance_id == "r-night"


def test_the_token_of_a_service_account_gets_a_role(
    secure: SimulatorProcess, pair: tuple[Path, Path], token_file: Path
) -> None:
    credentials = by_token(secure, pair, token_file, duration_seconds=900).get_credentials()

    lifetime = credentials.get_expiration() - datetime.now(UTC).timestamp()
    assert 880 < lifetime <= 900
    assert attribute(sdk(secure, credentials, pair)).instance_id == "r-night"


@pytest.mark.usefixtures("trusting")
async def test_the_asynchronous_providers_are_understood_too(
    secure: SimulatorProcess, simulator: SimulatorProcess, pair: tuple[Path, Path], token_file: Path
) -> None:
    providers = by_key(secure, pair), by_token(secure, pair, token_file), by_instance(simulator, role_name="reader")

    names = [(await made.get_credentials_async()).get_access_key_id() for made in providers]

    assert [name[:4] for name in names] == ["STS."] * 3


def test_a_refusal_names_its_code(secure: SimulatorProcess, pair: tuple[Path, Path], token_file: Path) -> None:
    token_file.write_text(f"{token_file.read_text(encoding='utf-8')}\n", encoding="utf-8")

    with pytest.raises(CredentialException, match=r"http_code: 401.*AuthenticationFail\.OIDCToken\.Invalid"):
        by_token(secure, pair, token_file).get_credentials()
    with pytest.raises(CredentialException, match=r"http_code: 400.*InvalidParameter\.DurationSeconds"):
        by_key(secure, pair, duration_seconds=3601).get_credentials()
    with pytest.raises(CredentialException, match=r"http_code: 400.*SignatureDoesNotMatch"):
        by_key(secure, pair, access_key_secret="wrong").get_credentials()
    with pytest.raises(CredentialException, match=r"http_code: 403.*NoPermission"):
        by_key(secure, pair, role_arn=FAR).get_credentials()


@pytest.mark.parametrize("arguments", [{}, {"role_name": "reader"}], ids=["asked for", "given"])
def test_an_instance_gets_the_credentials_of_its_role(simulator: SimulatorProcess, arguments: dict[str, str]) -> None:
    credentials = by_instance(simulator, **arguments).get_credentials()

    assert attribute(sdk(simulator, credentials)).instance_id == "r-night"


def test_an_instance_without_that_role_gets_none(simulator: SimulatorProcess) -> None:
    with pytest.raises(CredentialException, match="HttpCode=404"):
        by_instance(simulator, role_name="far").get_credentials()


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Client:
    """One client of the SDK with the credentials of the instance."""
    return sdk(simulator, by_instance(simulator).get_credentials())


def test_the_sdk_reads_the_details_of_an_instance(client: Client) -> None:
    night, unknown = attribute(client), attribute(client, "r-unknown")

    assert (night.maintain_start_time, night.maintain_end_time) == ("22:30Z", "02:30Z")
    assert (unknown.maintain_start_time, unknown.maintain_end_time) == (None, None)
    assert (night.architecture_type, night.computing_type, night.network_type) == ("cluster", "Machine", "VPC")
    assert (night.region_id, night.port, night.is_order_completed) == ("cn-hangzhou", 6379, True)


def test_the_sdk_knows_every_field_of_a_reply(simulator: SimulatorProcess, client: Client) -> None:
    request = models.DescribeInstanceAttributeRequest(instance_id="r-night")
    with_certificate = models.DescribeInstanceSSLRequest(instance_id="r-night")

    details = client.describe_instance_attribute(request).body.to_map()["Instances"]["DBInstanceAttribute"][0]
    certificate = client.describe_instance_ssl(with_certificate).body.to_map()

    # What the SDK does not know, it drops.
    sent: Any = OPERATIONS["DescribeInstanceAttribute"](Cloud(parse_seed(SEED)), {"InstanceId": "r-night"}, None)
    assert details == sent.fields["Instances"]["DBInstanceAttribute"][0]
    assert sorted(certificate) == [
        "CertCommonName",
        "CertDownloadURL",
        "InstanceId",
        "RequestId",
        "SSLEnabled",
        "SSLExpiredTime",
    ]


@pytest.mark.parametrize(("instance_id", "enabled"), [("r-night", "Enable"), ("r-unknown", "Disable")])
def test_the_sdk_reads_whether_tls_is_on(client: Client, instance_id: str, enabled: str) -> None:
    body = client.describe_instance_ssl(models.DescribeInstanceSSLRequest(instance_id=instance_id)).body

    assert (body.instance_id, body.sslenabled) == (instance_id, enabled)


def test_the_sdk_finds_no_unknown_instance(client: Client) -> None:
    errors = [
        refused(lambda: attribute(client, "r-none")),
        refused(lambda: client.describe_instance_ssl(models.DescribeInstanceSSLRequest(instance_id="r-none"))),
    ]

    assert [(error.code, error.status_code) for error in errors] == [("InvalidInstanceId.NotFound", 404)] * 2


def test_faults_meet_these_operations_too(simulator: SimulatorProcess, client: Client) -> None:
    fault = {"action": "DescribeInstanceAttribute", "kind": "type-jitter", "jitter": ["NumbersAsText"]}
    with urllib.request.urlopen(f"{simulator.url}/_simulator/faults", json.dumps(fault).encode(), timeout=10) as reply:  # noqa: S310 - our own simulator
        assert reply.status == 201

    assert (attribute(client).port, attribute(client).port) == ("6379", 6379)
