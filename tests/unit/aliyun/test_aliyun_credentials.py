"""Where AccessKeys come from, and what is said when they cannot be right."""

from pathlib import Path

import pytest

from tair_operator.aliyun.credentials import Credentials, CredentialsProvider, EnvironmentCredentials, FileCredentials
from tair_operator.models import Reason
from tair_operator.ports import CloudError, Effect, ErrorClass

ID, SECRET, TOKEN = (
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
)


async def complaint(provider: CredentialsProvider) -> CloudError:
    """Return what a source raises."""
    with pytest.raises(CloudError) as caught:
        await provider.get()
    return caught.value


class Time:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def write(directory: Path, **files: str) -> None:
    """Write credential files."""
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


async def test_variables_are_read_when_asked() -> None:
    environ = {ID: "LTAIone", SECRET: "first", TOKEN: ""}
    provider = EnvironmentCredentials(environ)

    first = await provider.get()
    environ |= {SECRET: "second", TOKEN: "token"}
    provider.invalidate()

    assert first == Credentials("LTAIone", "first", None)
    assert await provider.get() == Credentials("LTAIone", "second", "token")


async def test_missing_variables_are_named() -> None:
    error = await complaint(EnvironmentCredentials({SECRET: ""}))

    assert error == error_like(
        "CredentialsMissing",
        f"environment variable {ID} and environment variable {SECRET} are missing or empty: put the AccessKey there",
        Reason.CREDENTIALS_UNAVAILABLE,
    )


def error_like(code: str, message: str, reason: Reason) -> object:
    """Return something that is equal to a credentials error with these fields."""

    class Like:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, CloudError) and vars(other) == vars(expected)

        def __hash__(self) -> int:
            return 0

        def __repr__(self) -> str:
            return repr(expected)

    expected = CloudError("Credentials", code, message, ErrorClass.BLOCKED, Effect.NONE, reason, sent=False)
    return Like()


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        ("two words", "contains white space or a line break"),
        ("new\nline", "contains white space or a line break"),
        ("  ", "contains white space or a line break"),
        ("schl\u00fcssel", "contains characters that no AccessKey has"),
        ("bell\x07", "contains characters that no AccessKey has"),
        ("<your key>"[:5] + ">", "still has a placeholder in it"),
        ("${ACCESS_KEY}", "still has a placeholder in it"),
        ("YourAccessKeySecret", "still has a placeholder in it"),
        ("your-access-key", "still has a placeholder in it"),
        ("CHANGE_ME", "still has a placeholder in it"),
        ("changeme", "still has a placeholder in it"),
        ("xxxxxxxx", "still has a placeholder in it"),
        ("a" * 20_000, "is too long"),
    ],
)
@pytest.mark.parametrize("name", [ID, SECRET, TOKEN])
async def test_a_value_that_cannot_be_right_is_refused_without_being_shown(name: str, value: str, mistake: str) -> None:
    error = await complaint(EnvironmentCredentials({ID: "LTAIone", SECRET: "secret", TOKEN: "token", name: value}))

    assert error == error_like(
        "CredentialsMalformed",
        f"environment variable {name} {mistake}: put the AccessKey there, as issued",
        Reason.CREDENTIALS_INVALID,
    )
    assert value not in error.message


def test_a_printed_accesskey_shows_four_characters_and_no_secret() -> None:
    credentials = Credentials("LTAI5tSecretPart", "the-secret", "the-token")

    assert repr(credentials) == str(credentials) == "Credentials(LTAI***)"
    assert credentials.secrets == ("the-secret", "the-token")


async def test_files_are_read_without_their_last_line_break(tmp_path: Path) -> None:
    write(tmp_path, accessKeyId="LTAIone\n", accessKeySecret="secret\r\n", securityToken="token+/==\n")

    assert await FileCredentials(tmp_path).get() == Credentials("LTAIone", "secret", "token+/==")


async def test_files_are_read_again_after_a_minute(tmp_path: Path) -> None:
    time = Time()
    write(tmp_path, accessKeyId="LTAIone", accessKeySecret="first")
    provider = FileCredentials(tmp_path, clock=time)
    first = await provider.get()
    write(tmp_path, accessKeySecret="second")

    time.now = 60
    still = await provider.get()
    time.now = 61

    assert first is still
    assert await provider.get() == Credentials("LTAIone", "second")


async def test_files_are_read_again_after_the_cloud_refused_what_they_said(tmp_path: Path) -> None:
    write(tmp_path, accessKeyId="LTAIone", accessKeySecret="first")
    provider = FileCredentials(tmp_path)
    await provider.get()
    write(tmp_path, accessKeySecret="second")

    provider.invalidate()

    assert (await provider.get()).access_key_secret == "second"


async def test_all_files_come_from_the_same_version_of_a_mounted_secret(tmp_path: Path) -> None:
    write(tmp_path / "..2026_1", accessKeyId="LTAInew", accessKeySecret="new")
    (tmp_path / "..data").symlink_to("..2026_1")
    # Links into an older version, as they would look in the middle of a change.
    write(tmp_path, accessKeyId="LTAIold", accessKeySecret="old", securityToken="old")

    assert await FileCredentials(tmp_path).get() == Credentials("LTAInew", "new")


async def test_files_that_went_away_are_not_used_any_more(tmp_path: Path) -> None:
    time = Time()
    write(tmp_path, accessKeyId="LTAIone", accessKeySecret="secret")
    provider = FileCredentials(tmp_path, clock=time)
    await provider.get()
    (tmp_path / "accessKeySecret").unlink()
    time.now = 61

    error = await complaint(provider)

    message = f"file {tmp_path}/accessKeySecret is missing or empty: put the AccessKey there"
    assert error == error_like("CredentialsMissing", message, Reason.CREDENTIALS_UNAVAILABLE)


async def test_files_that_cannot_be_read_are_missing(tmp_path: Path) -> None:
    (tmp_path / "accessKeyId").mkdir()

    error = await complaint(FileCredentials(tmp_path))

    message = f"the files in {tmp_path} cannot be read: Is a directory"
    assert error == error_like("CredentialsMissing", message, Reason.CREDENTIALS_UNAVAILABLE)


async def test_bytes_that_are_no_text_are_malformed(tmp_path: Path) -> None:
    write(tmp_path, accessKeyId="LTAIone")
    (tmp_path / "accessKeySecret").write_bytes(b"\xff\xfe")

    error = await complaint(FileCredentials(tmp_path))

    assert (error.code, error.reason) == ("CredentialsMalformed", Reason.CREDENTIALS_INVALID)
