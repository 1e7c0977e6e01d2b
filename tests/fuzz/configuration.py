"""Settings, access lists, AccessKeys: taken as they are, or every mistake is named, and no value."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st
from yarl import URL

from tair_operator.__main__ import parse_flags
from tair_operator.access import AccessFile, AccessFileError, AccessList, parse_access
from tair_operator.aliyun.credentials import Credentials, EnvironmentCredentials, FileCredentials
from tair_operator.aliyun.credentials.sts import sts_endpoint
from tair_operator.aliyun.endpoints import endpoint_of
from tair_operator.aliyun.limiter import Limiter
from tair_operator.leader import Terms
from tair_operator.ports import CloudError, Effect
from tair_operator.settings import PREFIX, Settings, SettingsError, load_settings
from tests.builders import resource, seconds
from tests.fuzz.target import Case, Target
from tests.fuzz.text import odd_texts
from tests.fuzz.yaml_text import yaml_texts
from tests.virtual_time import run_virtually

ASTRAY = "LTAI5tSecretThatWentAstray"
FIELDS = sorted(Settings.model_fields)

# --- settings ---

_VALUES = [
    "0", "1", "-1", "1.5",
    "15", "60", "900", "nan", "inf", "-inf", "1e-320", "1e400", "9" * 400, "true", "false", "Act",
    "Observe", "Required", "Maintenance", "Allow", "RRSA", "Files", "ECSRAMRole", "json", "debug", "a", "cn-hangzhou",
    "shop,team-a", "shard=a", "shard in (a,b)", "4.0,5.0", ":8080", "[::1]:9090", "host:99999", "h:\u0663", "5.\u0663",
    "https://cloud.example", "https://cloud.example:8443/", "http://127.0.0.1:1", "HTTPS://[::1]", "https://a b",
    "https://a\tb", " https://cloud.example", "https://\u00fc.example", "https://..", "https://[v1.x]", "https://a:b",
    "https://a%zz", "https://x\\y", "http://[::1%25eth0]", "https://[::1]x", f"https://user:{ASTRAY}@cloud.example",
    "acs:ram::1:role/a", "acs:ram::1:oidc-provider/b", f"/nowhere/{ASTRAY}", ASTRAY, f"{ASTRAY}\n", "\udcff",
]  # fmt: skip
_NO_FLAGS = {"access-key-secret", "lease", "m"}
texts = (st.sampled_from(_VALUES) | odd_texts).map(
    lambda text: os.fsdecode(
        text.replace("\x00", "").encode("utf-8", "surrogateescape" if "\udcff" in text else "replace")
    )
)
settings_cases = st.fixed_dictionaries(
    {
        "environ": st.dictionaries(
            st.sampled_from(FIELDS).map(lambda name: f"{PREFIX}{name}".upper())
            | st.sampled_from([f"{PREFIX}RESYNC", "tair_operator_mode", f"{PREFIX}DEMO_SERVICE_HOST"]),
            texts,
            max_size=6,
        ),
        "flags": st.dictionaries(
            st.sampled_from([name.replace("_", "-") for name in FIELDS] + sorted(_NO_FLAGS)),
            texts,
            max_size=4,
        ),
    }
)


def check_settings(case: Case) -> None:
    """Start as ``main`` does, up to what the settings are used for."""
    environ, arguments = case["environ"], [f"--{name}={value}" for name, value in case["flags"].items()]
    try:
        settings = _load(arguments, environ)
    except SettingsError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            assert line.isprintable()
            assert ASTRAY not in line
        # Each that is wrong alone is named beside all others, too.
        named = {name for name, value in environ.items() if _is_wrong({name: value})}
        if not (case["flags"].keys() & _NO_FLAGS):
            missing = [name for name in named if not any(name.upper() in line.upper() for line in lines)]
            assert [name for name in missing if not _is_given(name, case)] == []
        return
    _use(settings)


def _load(arguments: list[str], environ: Mapping[str, str]) -> Settings:
    others = {name: text for name, text in os.environ.items() if not name.upper().startswith(PREFIX)}
    with patch.dict(os.environ, {**others, **environ}, clear=True):
        return load_settings(parse_flags(arguments), environ)


def _is_wrong(environ: Mapping[str, str]) -> bool:
    try:
        _load([], environ)
    except SettingsError:
        return True
    return False


def _is_given(name: str, case: Case) -> bool:
    """Whether a flag of that name wins, or what else is set may make the value right."""
    flag = name.upper().removeprefix(PREFIX).lower().replace("_", "-")
    return flag in case["flags"] or flag in _TOGETHER


_TOGETHER = {
    "credentials-source",
    "ecs-role-name",
    "assume-role-external-id",
    "sts-region",
    "allow-http",
    "vpc-endpoints",
}
_TOGETHER |= {
    "endpoint",
    "sts-endpoint",
    "ecs-metadata-endpoint",
    "lease-renew-deadline-seconds",
    "lease-retry-seconds",
}
_TOGETHER |= {"call-timeout-seconds", "lease-seconds"}


def _use(settings: Settings) -> None:
    host, port = settings.http_host_and_port
    assert host
    assert 0 <= port <= 65535
    assert settings.policy.resync > seconds(0)
    assert str(settings.scope)
    assert settings.own_source
    Limiter(clock=lambda: 0.0, rate=settings.calls_per_second / 2, ceiling=settings.calls_per_second)
    terms = settings.lease_seconds, settings.lease_renew_deadline_seconds, settings.lease_retry_seconds
    Terms(*(seconds(term) for term in terms))
    for endpoint in (
        endpoint_of("cn-hangzhou", vpc=settings.vpc_endpoints, override=settings.endpoint),
        sts_endpoint(region=settings.sts_region, vpc=settings.vpc_endpoints, override=settings.sts_endpoint),
    ):
        url = URL(f"{endpoint}/?a=b", encoded=True)
        assert url.host
        assert endpoint.host.isascii()
        assert endpoint.host.isprintable()
        assert " " not in endpoint.host


# --- the access list ---

ACCESS = """\
releases: Allow
rules:
  - namespaces: [shop, "team-*"]
    regions: [cn-hangzhou]
    instanceIds: ["*"]
    actions: [Observe, Allocate, Release]
    approval: Required
  - namespaceSelector:
      matchLabels: {team: orders}
      matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}
    regions: ["*"]
    instanceIds: [r-bp1]
    actions: [Observe]
"""
access_cases = st.fixed_dictionaries({"text": yaml_texts(ACCESS)})


def check_access(case: Case) -> None:
    """Parse the list, use it, and let a running operator read it again."""
    rules = _parsed(case["text"])
    if isinstance(rules, AccessFileError):
        assert all(line.isprintable() and line.startswith("access.yaml") for line in str(rules).split("\n"))
    else:
        asked = resource(False)
        for labels in (None, {}, {"team": "orders"}):
            grant = rules.grant(asked, labels)
            assert not grant.verbs or rules.rules
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "access.yaml"
        file.write_text("releases: Hold\n", encoding="utf-8")
        known = AccessFile.open(file)
        file.write_bytes(case["text"].encode("utf-8", "surrogatepass"))
        known.reload()
        assert known.is_valid or known.current == AccessList(releases="Hold")


def _parsed(text: str) -> AccessList | AccessFileError:
    try:
        return parse_access(text, "access.yaml")
    except AccessFileError as error:
        return error


# --- AccessKeys ---

_PARTS = {
    "accessKeyId": "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "accessKeySecret": "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "securityToken": "ALIBABA_CLOUD_SECURITY_TOKEN",
}
_keys = st.sampled_from([ASTRAY, f"{ASTRAY}\n", f"{ASTRAY}\r\n", f" {ASTRAY}", f"{ASTRAY}\x00", f"{ASTRAY}\u00fc", ""])
_keys |= st.sampled_from([f"<{ASTRAY}>", f"${{{ASTRAY}}}", "xxxx", ASTRAY * 1000, f"\ufeff{ASTRAY}"]) | odd_texts
key_cases = st.fixed_dictionaries({}, optional=dict.fromkeys(_PARTS, _keys))


def check_keys(case: Case) -> None:
    """Read the parts of an AccessKey from variables, and from files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in case.items():
            (Path(folder) / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        run_virtually(_get(FileCredentials(Path(folder))))
    run_virtually(_get(EnvironmentCredentials({_PARTS[name]: text for name, text in case.items()})))


async def _get(source: FileCredentials | EnvironmentCredentials) -> None:
    found = await _got(source)
    if isinstance(found, CloudError):
        assert (found.sent, found.effect) == (False, Effect.NONE)
        assert found.message.isprintable()
        assert ASTRAY not in str(found)
        return
    # All three go into headers.
    for part in (found.access_key_id, found.access_key_secret, found.security_token or "-"):
        assert part
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    assert ASTRAY not in repr(found)


async def _got(source: FileCredentials | EnvironmentCredentials) -> Credentials | CloudError:
    try:
        return await source.get()
    except CloudError as error:
        return error


SETTINGS = Target("settings", settings_cases, check_settings, examples=50)
ACCESS_LIST = Target("access-list", access_cases, check_access, examples=50)
KEYS = Target("keys", key_cases, check_keys, examples=40)
