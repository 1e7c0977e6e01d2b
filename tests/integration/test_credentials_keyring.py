"""The credentials that a resource names: what is asked of Kubernetes and STS, and what a user sees when it is wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tair_operator.aliyun.credentials import (
    Credentials,
    CredentialsProvider,
    EnvironmentCredentials,
    Keyring,
    Sts,
    sts_endpoint,
)
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Reason
from tair_operator.ports import (
    CloudError,
    ClusterUnavailableError,
    ErrorClass,
    ForbiddenError,
    Principal,
    PrincipalKind,
)
from tests.fakes import FakeClock
from tests.integration.credentials_server import (
    CredentialsServer,
    FakeIdentities,
    Script,
    credentials_server,
    form,
    issuing,
    refusal,
)

ARN = "acs:ram::1234567890123456:role/orders"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/cluster"
SECRET = Principal("shop", PrincipalKind.SECRET, "keys")
ACCOUNT = Principal("shop", PrincipalKind.SERVICE_ACCOUNT, "orders")
KEYS = {"accessKeyId": "LTAItenant\n", "accessKeySecret": "tenantSecret\n"}
ANNOTATED = {"tair.alibabacloud.com/role-arn": ARN}
OWN = EnvironmentCredentials({"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIown", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "ownSecret"})


class Setting:
    """A keyring and all that surrounds it."""

    def __init__(
        self, keyring: Keyring, server: CredentialsServer, kubernetes: FakeIdentities, clock: FakeClock
    ) -> None:
        self.keyring, self.server, self.kubernetes, self.clock = keyring, server, kubernetes, clock

    def of(self, principal: Principal) -> CredentialsProvider:
        return self.keyring.provider_of(principal)

    async def failed(self, principal: Principal) -> CloudError:
        with pytest.raises(CloudError) as caught:
            await self.of(principal).get()
        assert not caught.value.sent
        return caught.value


@asynccontextmanager
async def setting(
    *, script: Script | None = None, provider: str | None = PROVIDER, **kubernetes: object
) -> AsyncIterator[Setting]:
    """Yield a keyring in a cluster with these objects."""
    clock, identities = FakeClock(), FakeIdentities(**kubernetes)  # type: ignore[arg-type]
    async with credentials_server(script or issuing(clock.wall)) as server, open_session(None) as session:
        sts = Sts(session, sts_endpoint(override=server.url), clock, lambda: "nonce")
        keyring = Keyring(
            OWN, identities=identities, sts=sts, clock=clock, session_name="tair-operator", provider_arn=provider
        )
        yield Setting(keyring, server, identities, clock)


def secret(**data: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return a cluster with this Secret alone."""
    return {("shop", "keys"): data}


def account(**annotations: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return a cluster with this ServiceAccount alone."""
    return {("shop", "orders"): annotations}


# --- A Secret ---


async def test_the_keys_of_a_secret_are_used_as_they_are() -> None:
    async with setting(secrets=secret(**KEYS, securityToken="token")) as world:
        credentials = await world.of(SECRET).get()

    assert credentials == Credentials("LTAItenant", "tenantSecret", "token")
    assert world.kubernetes.asked == [("secret", "shop", "keys")]
    assert world.server.requests == []


async def test_a_secret_with_a_role_is_exchanged_for_it() -> None:
    async with setting(secrets=secret(**KEYS, roleArn=ARN)) as world:
        credentials = await world.of(SECRET).get()

    assert credentials.access_key_id == "STS.number1"
    assert "Credential=LTAItenant," in world.server.requests[0].by_name["authorization"]
    assert form(world.server.requests[0]) == {
        "DurationSeconds": "3600",
        "RoleArn": ARN,
        "RoleSessionName": "tair-operator.shop.keys",
    }


async def test_a_secret_is_read_once_a_minute_and_again_at_once_when_the_cloud_refused_its_keys() -> None:
    async with setting(secrets=secret(**KEYS)) as world:
        await world.of(SECRET).get()
        world.clock.advance(60)
        await world.of(SECRET).get()
        world.kubernetes.secrets = secret(accessKeyId="LTAInew", accessKeySecret="new")
        world.of(SECRET).invalidate()
        credentials = await world.of(SECRET).get()

    assert credentials.access_key_id == "LTAInew"
    assert len(world.kubernetes.asked) == 2


@pytest.mark.parametrize(
    ("secrets", "code", "message"),
    [
        ({}, "CredentialsMissing", "there is no Secret shop/keys: create it with accessKeyId and accessKeySecret"),
        (
            secret(accessKeyId="LTAItenant"),
            "CredentialsMissing",
            "key accessKeySecret of Secret shop/keys is missing or empty: put the AccessKey there",
        ),
        (
            secret(),
            "CredentialsMissing",
            (
                "key accessKeyId of Secret shop/keys and key accessKeySecret of Secret shop/keys are missing or empty: "
                "put the AccessKey there"
            ),
        ),
        (
            secret(accessKeyId="LTAItenant", accessKeySecret="<secret>"),
            "CredentialsMalformed",
            "key accessKeySecret of Secret shop/keys still has a placeholder in it: put the AccessKey there, as issued",
        ),
        (
            secret(roleArn=ARN),
            "CredentialsMalformed",
            "Secret shop/keys has a roleArn and no keys to assume it with: add accessKeyId and accessKeySecret",
        ),
        (
            secret(**KEYS, roleArn="orders"),
            "CredentialsMalformed",
            "key roleArn of Secret shop/keys is no ARN: write acs:ram::<account id>:role/<name>",
        ),
    ],
    ids=["no-secret", "no-secret-key", "empty", "placeholder", "role-alone", "no-arn"],
)
async def test_what_is_said_about_a_secret_that_does_not_do(
    secrets: dict[tuple[str, str], dict[str, str]], code: str, message: str
) -> None:
    async with setting(secrets=secrets) as world:
        error = await world.failed(SECRET)

    reasons = {
        "CredentialsMissing": Reason.CREDENTIALS_UNAVAILABLE,
        "CredentialsMalformed": Reason.CREDENTIALS_INVALID,
    }
    assert (error.action, error.code, error.reason, error.message) == ("Credentials", code, reasons[code], message)


@pytest.mark.parametrize("principal", [SECRET, ACCOUNT], ids=str)
async def test_a_missing_permission_is_named(principal: Principal) -> None:
    async with setting(failure=ForbiddenError("it may not be read: bind a Role in shop")) as world:
        error = await world.failed(principal)

    assert (error.code, error.reason) == ("CredentialsMissing", Reason.CREDENTIALS_UNAVAILABLE)
    assert error.message == "it may not be read: bind a Role in shop"


@pytest.mark.parametrize("principal", [SECRET, ACCOUNT], ids=str)
async def test_an_api_server_that_does_not_answer_is_waited_out(principal: Principal) -> None:
    failure = ClusterUnavailableError("the Kubernetes API did not answer GET /api/v1/x: TimeoutError")
    async with setting(failure=failure) as world:
        error = await world.failed(principal)

    assert (error.code, error.error_class) == ("CredentialsUnreadable", ErrorClass.TRANSIENT)
    assert error.message == (
        f"{principal} cannot be read now: the Kubernetes API did not answer GET /api/v1/x: TimeoutError"
    )


# --- A ServiceAccount ---


async def test_a_service_account_is_exchanged_by_a_token_of_its_own() -> None:
    async with setting(accounts=account(**ANNOTATED)) as world:
        credentials = await world.of(ACCOUNT).get()

    assert credentials.access_key_id == "STS.number1"
    assert world.kubernetes.asked == [
        ("account", "shop", "orders"),
        ("token", "shop", "orders", "sts.aliyuncs.com", 600),
    ]
    assert form(world.server.requests[0]) == {
        "DurationSeconds": "3600",
        "OIDCProviderArn": PROVIDER,
        "OIDCToken": world.kubernetes.token,
        "RoleArn": ARN,
        "RoleSessionName": "tair-operator.shop.orders",
    }


async def test_a_token_is_asked_for_only_when_an_exchange_is_due() -> None:
    async with setting(accounts=account(**ANNOTATED)) as world:
        for _ in range(44):
            await world.of(ACCOUNT).get()
            world.clock.advance(60)
        within_the_lead = len(world.server.requests)
        world.clock.advance(61)
        await world.of(ACCOUNT).get()

    assert (within_the_lead, len(world.server.requests)) == (1, 2)
    assert len([question for question in world.kubernetes.asked if question[0] == "token"]) == 2


async def test_a_role_that_is_withdrawn_is_not_used_for_longer_than_a_minute() -> None:
    async with setting(accounts=account(**ANNOTATED)) as world:
        await world.of(ACCOUNT).get()
        world.kubernetes.accounts = account()
        world.clock.advance(61)
        error = await world.failed(ACCOUNT)

    assert error.message.startswith("ServiceAccount shop/orders has no annotation ")


@pytest.mark.parametrize(
    ("accounts", "provider", "token", "code", "message"),
    [
        (
            {},
            PROVIDER,
            "t",
            "CredentialsMissing",
            "there is no ServiceAccount shop/orders: create it, or correct the name",
        ),
        (
            account(),
            PROVIDER,
            "t",
            "CredentialsMissing",
            (
                "ServiceAccount shop/orders has no annotation tair.alibabacloud.com/role-arn: set it to the ARN of the "
                "RAM role to assume"
            ),
        ),
        (
            account(**{"tair.alibabacloud.com/role-arn": "orders"}),
            PROVIDER,
            "t",
            "CredentialsMalformed",
            (
                "annotation tair.alibabacloud.com/role-arn of ServiceAccount shop/orders is no ARN: write "
                "acs:ram::<account id>:role/<name>"
            ),
        ),
        (
            account(**ANNOTATED),
            None,
            "t",
            "CredentialsMissing",
            (
                "no token of ServiceAccount shop/orders can be exchanged: whoever runs the operator has to set "
                "TAIR_OPERATOR_OIDC_PROVIDER_ARN to the ARN of the identity provider in RAM that trusts this cluster"
            ),
        ),
        (
            account(**ANNOTATED),
            "cluster",
            "t",
            "CredentialsMalformed",
            "the configured identity provider is no ARN: write acs:ram::<account id>:oidc-provider/<name>",
        ),
        (
            account(**ANNOTATED),
            PROVIDER,
            "",
            "CredentialsUnreadable",
            "the Kubernetes API issued an empty token of ServiceAccount shop/orders",
        ),
    ],
    ids=["no-account", "no-annotation", "no-arn", "no-provider", "no-provider-arn", "no-token"],
)
async def test_what_is_said_about_a_service_account_that_does_not_do(
    accounts: dict[tuple[str, str], dict[str, str]], provider: str | None, token: str, code: str, message: str
) -> None:
    async with setting(accounts=accounts, provider=provider, token=token) as world:
        error = await world.failed(ACCOUNT)

    assert (error.action, error.code, error.message) == ("Credentials", code, message)
    assert world.server.requests == []


async def test_a_service_account_that_is_deleted_before_its_token_is_issued_is_missing() -> None:
    class Vanishing(FakeIdentities):
        async def read_service_account_annotations(self, namespace: str, name: str) -> dict[str, str] | None:
            found = await super().read_service_account_annotations(namespace, name)
            self.accounts = {}
            return found

    async with setting() as world:
        world.keyring._identities = Vanishing(accounts=account(**ANNOTATED))
        error = await world.failed(ACCOUNT)

    assert error.message == "there is no ServiceAccount shop/orders: create it, or correct the name"


async def test_a_refusal_of_sts_names_the_subject_that_has_to_be_trusted() -> None:
    script: Script = lambda _: refusal(401, "AuthenticationFail.NoPermission", "No permission.")  # noqa: E731
    async with setting(accounts=account(**ANNOTATED), script=script) as world:
        error = await world.failed(ACCOUNT)

    assert (error.action, error.reason, error.http_status) == ("AssumeRoleWithOIDC", Reason.ACCESS_DENIED, 401)
    assert "oidc:sub system:serviceaccount:shop:orders and oidc:aud sts.aliyuncs.com" in error.message


# --- All of them ---


async def test_whoever_names_nobody_gets_the_operators_own() -> None:
    async with setting() as world:
        assert world.keyring.provider_of(None) is OWN
        assert world.kubernetes.asked == []


@pytest.mark.parametrize("kind", PrincipalKind)
async def test_a_principal_reaches_the_objects_of_its_own_namespace_only(kind: PrincipalKind) -> None:
    elsewhere = {("shop", "same"): KEYS | ANNOTATED}
    async with setting(secrets=elsewhere, accounts=elsewhere) as world:
        await world.of(Principal("shop", kind, "same")).get()
        error = await world.failed(Principal("intruder", kind, "same"))

    assert error.message.startswith(f"there is no {kind} intruder/same: ")
    assert [question[1] for question in world.kubernetes.asked][-1] == "intruder"


@pytest.mark.parametrize("principal", [SECRET, ACCOUNT], ids=str)
async def test_fifty_passes_at_once_cause_one_exchange(principal: Principal) -> None:
    async with setting(secrets=secret(**KEYS, roleArn=ARN), accounts=account(**ANNOTATED)) as world:
        got = await asyncio.gather(*(world.of(principal).get() for _ in range(50)))

    assert {credentials.access_key_id for credentials in got} == {"STS.number1"}
    assert len(world.server.requests) == 1


async def test_one_principal_does_not_wait_for_another() -> None:
    class Slow(FakeIdentities):
        async def read_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
            if name == "slow":
                await asyncio.Event().wait()
            return await super().read_secret(namespace, name)

    async with setting() as world:
        world.keyring._identities = Slow(secrets=secret(**KEYS))
        waiting = asyncio.create_task(world.of(Principal("shop", PrincipalKind.SECRET, "slow")).get())
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            credentials = await world.of(SECRET).get()
        waiting.cancel()

    assert credentials.access_key_id == "LTAItenant"


async def test_a_provider_is_kept_while_it_is_used_and_forgotten_an_hour_after() -> None:
    async with setting(secrets=secret(**KEYS), accounts=account(**ANNOTATED)) as world:
        first = world.of(SECRET)
        used = []
        for _ in range(3):
            world.clock.advance(timedelta(minutes=50))
            used.append(world.of(SECRET))
        world.clock.advance(timedelta(minutes=61))
        world.of(ACCOUNT)

        assert used == [first] * 3
        assert list(world.keyring._kept) == [ACCOUNT]
        assert world.of(SECRET) is not first


async def test_the_earliest_expiry_is_that_of_the_first_to_expire() -> None:
    async with setting(secrets=secret(**KEYS, roleArn=ARN), accounts=account(**ANNOTATED)) as world:
        start = world.clock.wall
        nobody_has_any = world.keyring.earliest_expiry
        await world.of(SECRET).get()
        await world.of(ACCOUNT).get()

        assert (nobody_has_any, world.keyring.earliest_expiry) == (None, start + timedelta(hours=1))


async def test_no_token_or_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    script: Script = lambda _: refusal(401, "AuthenticationFail.OIDCToken.Invalid", "bad eyJoZWFkZXIi.eyJwYXlsb2FkIi")  # noqa: E731
    async with setting(secrets=secret(**KEYS, roleArn=ARN), accounts=account(**ANNOTATED), script=script) as world:
        errors = [await world.failed(SECRET), await world.failed(ACCOUNT)]

    records = [vars(record) for record in caplog.records if record.name.startswith("tair_operator")]
    everything = repr([errors, records, world.keyring])
    hidden = ("tenantSecret", world.kubernetes.token, "eyJwYXlsb2FkIi.c2lnbmF0dXJl")
    assert [text for text in hidden if text in everything] == []
