"""Makes text from outside fit to be shown: in a status, an Event, a log line.

The cloud's answer to a wrong signature quotes the whole request that it
received, the security token included. So nothing from outside is stored before
it went through ``redact``, and what looks like a secret is taken for one.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

MESSAGE_MAX = 512
"""Characters that a message keeps."""

_HIDDEN = "***"
# Longer input is cut before the patterns run over it; what is left is far more than is shown.
_INPUT_MAX = 16_384
# A secret that is shorter is no secret, and replacing it would mangle the text.
_SECRET_MIN = 4

# From here on, the text quotes the request, in a form that names secrets without labels.
_ECHO = re.compile(r"(server\s+)?(string\s*to\s*sign|canonical\s*request|ACS3-HMAC-SHA256).*", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b((?:proxy-)?authorization[\"']?\s*[:=]).*", re.IGNORECASE)
_LABELLED = re.compile(
    r"\b(x-acs-security-token|(?:sts[-_]?)?security[-_ ]?token|(?:access[-_ ]?key[-_ ]?)?secret|x-acs-signature"
    r"|signature|password|oidc[-_ ]?token)\b([\"']?\s*[:=]\s*[\"'\[]?)[^\s\"'&;,\]]+",
    re.IGNORECASE,
)
_LABELLED_KEY_ID = re.compile(
    r"\b(x-acs-accesskey-id|access[-_ ]?key[-_ ]?id|credential)\b([\"']?\s*[:=]\s*[\"'\[]?)([\w.]{4})[\w.-]*",
    re.IGNORECASE,
)
_KEY_ID = re.compile(r"\b(LTAI|STS\.|TMP\.)[A-Za-z0-9]{8,}")
# An AccessKey secret is 30 letters and digits in both cases; names that the cloud gives out have one case only.
_KEY_SECRET = re.compile(r"(?<![A-Za-z0-9])(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])[A-Za-z0-9]{30}(?![A-Za-z0-9])")
_LONG_HEX = re.compile(r"\b[0-9A-Fa-f]{64}\b")
_LONG_BASE64 = re.compile(r"[A-Za-z0-9+/_%-]{100,}={0,2}")


def redact(text: str, secrets: Iterable[str | None] = (), *, limit: int = MESSAGE_MAX) -> str:
    """Return the text on one line, without secrets, and no longer than ``limit`` characters.

    ``secrets`` are values that are known and must not appear: as they are, in
    several lines, percent-encoded once or twice, or as entities of HTML. Of an AccessKey id, the
    first four characters stay.
    """
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN:
            text = _spelt(secret).sub(_HIDDEN, text)
    text = one_line(text[:_INPUT_MAX])
    text = _ECHO.sub("[the quoted request was removed]", text)
    text = _AUTHORIZATION.sub(rf"\1 {_HIDDEN}", text)
    text = _LABELLED.sub(rf"\1\2{_HIDDEN}", text)
    text = _LABELLED_KEY_ID.sub(rf"\1\2\3{_HIDDEN}", text)
    text = _KEY_ID.sub(rf"\1{_HIDDEN}", text)
    for pattern in (_KEY_SECRET, _LONG_HEX, _LONG_BASE64):
        text = pattern.sub(_HIDDEN, text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@lru_cache(maxsize=16)
def _spelt(secret: str) -> re.Pattern[str]:
    """Return what finds a secret in whichever way it is quoted. Of a token with an hour to live, compiled once."""
    return re.compile(r"\s*".join(_spelt_character(character) for character in secret))


def _spelt_character(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    return f"(?i:{re.escape(character)}|{encoded}|&#0*{ord(character)};|&#x0*{ord(character):x};)"


def one_line(text: str) -> str:
    """Return the text without control and formatting characters, lone surrogates and runs of white space."""
    # Not printable: control, formatting (bidirectional overrides among them), surrogates, separators but the space.
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())
