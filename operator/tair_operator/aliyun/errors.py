"""The code table: what each error code of the cloud means.

One row per code: what to do (class), whether a mutating call may have taken
effect all the same (effect), and the reason that the resource shows. Codes are
compared without regard to case. Exact rows are asked first, then the patterns
from top to bottom, and only then the HTTP status: sources disagree about the
status of many codes, so the code decides.

Effect None is a promise that the instance was not touched; a code is given it
only where its text says so. Everything that is not listed is Possible.
"""

from datetime import timedelta
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import NamedTuple

from tair_operator.models import Reason
from tair_operator.ports import CloudError, Effect, ErrorClass

TRANSIENT, BUSY, BLOCKED, INVALID, CONFIRM = (
    ErrorClass.TRANSIENT,
    ErrorClass.BUSY,
    ErrorClass.BLOCKED,
    ErrorClass.INVALID,
    ErrorClass.CONFIRM,
)
NONE, POSSIBLE = Effect.NONE, Effect.POSSIBLE


class Row(NamedTuple):
    """What is known about one code, or about all codes that match a pattern with ``*``."""

    code: str
    error_class: ErrorClass
    effect: Effect
    reason: Reason
    source: str
    advice: str = ""
    """What the reader should do, where the cloud's own message does not say it."""


# Codes of our own, for what happens without an intelligible answer of the cloud.
CONNECTION_FAILED = "ConnectionFailed"
NO_ANSWER = "NoAnswer"
UNREADABLE_ANSWER = "UnreadableAnswer"
REDIRECTED = "Redirected"
PAUSED = "Paused"
CREDENTIALS_MISSING = "CredentialsMissing"
CREDENTIALS_MALFORMED = "CredentialsMalformed"
CREDENTIALS_UNREADABLE = "CredentialsUnreadable"

# Where the rows come from, in the Alibaba Cloud help centre unless it says otherwise.
_RELEASE = "API page ReleaseDirectConnection"
_ALLOCATE = "API page AllocateDirectConnection"
_BOTH = "API pages ReleaseDirectConnection and AllocateDirectConnection"
_PRODUCT = "error code table of ApsaraDB for Redis (R-kvstore)"
_COMMON = "common error codes of Alibaba Cloud services"
_TERRAFORM = "Alibaba's Terraform provider, which handles it for R-kvstore"
_STS = "API pages AssumeRole and AssumeRoleWithOIDC of STS"
_RRSA = "RRSA in the user guide of ACK; API page AssumeRoleWithOIDC of STS"
_OPERATOR = "this operator"

_WRONG_SIGNATURE = "check the AccessKey secret that belongs to this AccessKey id"
_KEY = "check that the AccessKey exists and is enabled"
_EXPIRING = "renew the temporary credentials; all three parts have to be replaced together"
_CLOCK = "compare the clock of the node with the time of day; 15 minutes are tolerated"
_RAM = "grant the RAM identity this action on the instance"
_ROLE = "create the RAM role, or correct its ARN"
_TRUST = "the trust policy of the RAM role has to allow this ServiceAccount"
_IDENTITY_PROVIDER = "compare the identity provider in RAM (issuer, audience, fingerprint) with the cluster"
_DURATION = "set TAIR_OPERATOR_ROLE_SESSION_SECONDS to no more than the role's maximum session duration"
_VERSION = "upgrade the instance; a direct connection needs a newer version"
_BUG = "this is a mistake of the operator or of its endpoint setting"

TABLE: tuple[Row, ...] = (
    # Of the two mutating operations.
    Row("NetTypeNotExists", CONFIRM, NONE, Reason.OUTCOME_UNKNOWN, _RELEASE),
    Row("NetTypeExists", CONFIRM, NONE, Reason.OUTCOME_UNKNOWN, _ALLOCATE),
    Row("DirectConnectionAlreadyExists", CONFIRM, NONE, Reason.OUTCOME_UNKNOWN, _ALLOCATE),
    Row("InstanceStatus.NotSupport", BUSY, NONE, Reason.INSTANCE_BUSY, _BOTH),
    Row("TaskHasExist", BUSY, NONE, Reason.INSTANCE_BUSY, _ALLOCATE),
    Row("InvalidDbInstanceId.NotFound", BLOCKED, NONE, Reason.INSTANCE_NOT_FOUND, _BOTH),
    Row("InvalidConnType", BLOCKED, NONE, Reason.INSTANCE_NOT_ELIGIBLE, _ALLOCATE),
    Row("InvalidVPCParamGroup", BLOCKED, NONE, Reason.INSTANCE_NOT_ELIGIBLE, _ALLOCATE),
    Row("UnsupportedEngineVersion", BLOCKED, NONE, Reason.INSTANCE_NOT_ELIGIBLE, _ALLOCATE, _VERSION),
    Row("IncorrectMinorVersion", BLOCKED, NONE, Reason.INSTANCE_NOT_ELIGIBLE, _ALLOCATE, _VERSION),
    Row("ConnectionStringAlreadyExists", INVALID, NONE, Reason.INVALID_REQUEST, _ALLOCATE),
    Row("InvalidConnectionString", INVALID, NONE, Reason.INVALID_REQUEST, _ALLOCATE),
    Row("InvalidConnectionString.Format", INVALID, NONE, Reason.INVALID_REQUEST, _ALLOCATE),
    # Of the product. A lock that was waited for, and a proxy that lost the answer, may both have let the call through.
    Row("IncorrectDBInstanceState", BUSY, NONE, Reason.INSTANCE_BUSY, _PRODUCT),
    Row("LockTimeout", BUSY, POSSIBLE, Reason.INSTANCE_BUSY, _PRODUCT),
    Row("ProxyError", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, _PRODUCT),
    Row("Unkown.Exception", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, f"{_PRODUCT}, spelt like this"),
    Row("HasDirectConnectionNotSupport", BLOCKED, NONE, Reason.INSTANCE_NOT_ELIGIBLE, _PRODUCT),
    Row("NotFound", BLOCKED, NONE, Reason.INSTANCE_NOT_FOUND, _PRODUCT),
    Row("InvalidInstanceId.NotFound", BLOCKED, NONE, Reason.INSTANCE_NOT_FOUND, _TERRAFORM),
    Row("InvalidDBInstance.NotFound", BLOCKED, NONE, Reason.INSTANCE_NOT_FOUND, _TERRAFORM),
    Row("Forbidden.InstanceNotFound", BLOCKED, NONE, Reason.INSTANCE_NOT_FOUND, _TERRAFORM),
    Row("OperationDeniedDBStatus", BUSY, NONE, Reason.INSTANCE_BUSY, _TERRAFORM),
    Row("OperationDenied.*Status", BUSY, NONE, Reason.INSTANCE_BUSY, _TERRAFORM),
    # Too many calls: turned away at the gateway.
    Row("Throttling", TRANSIENT, NONE, Reason.THROTTLED, _COMMON),
    Row("Throttling.User", TRANSIENT, NONE, Reason.THROTTLED, _COMMON),
    Row("Throttling.Api", TRANSIENT, NONE, Reason.THROTTLED, f"{_COMMON}; {_PRODUCT}"),
    Row("Throttling.*", TRANSIENT, NONE, Reason.THROTTLED, _COMMON),
    Row("Rejected.Throttling", TRANSIENT, NONE, Reason.THROTTLED, _COMMON),
    # Trouble at the cloud's end. The instance may have been reached before it.
    Row("ServiceUnavailable", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, _COMMON),
    Row("InternalError", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, f"{_COMMON}; {_PRODUCT}"),
    # Every request has a fresh nonce. One that was used already tells of a copy that arrived before.
    Row("SignatureNonceUsed", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, _COMMON),
    # The clock.
    Row("InvalidTimeStamp.Expired", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _CLOCK),
    Row("InvalidTimeStamp.Format", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("IllegalTimestamp", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _CLOCK),
    # Who is calling.
    Row("SignatureDoesNotMatch", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _WRONG_SIGNATURE),
    Row("IncompleteSignature", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _WRONG_SIGNATURE),
    Row("InvalidSignatureMethod", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("ContentMD5NotMatched", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("InvalidAccessKeyId.NotFound", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _KEY),
    Row("InvalidAccessKeyId.Inactive", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _KEY),
    Row("InvalidAccessKeyId*", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _KEY),
    Row("MissingAccessKeyId", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _KEY),
    Row("MissingSecurityToken", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _EXPIRING),
    Row("InvalidSecurityToken.Expired", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _EXPIRING),
    Row("InvalidSecurityToken.Malformed", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _EXPIRING),
    Row("InvalidSecurityToken.MismatchWithAccessKey", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _EXPIRING),
    Row("InvalidSecurityToken*", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _COMMON, _EXPIRING),
    # What the caller may do.
    Row("Forbidden.RAM", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON, _RAM),
    Row("NoPermission", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON, _RAM),
    Row("Forbidden", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON, _RAM),
    Row("Forbedden.NotSupportRAM", BLOCKED, NONE, Reason.ACCESS_DENIED, f"{_COMMON}, spelt like this"),
    Row("Forbidden.RiskControl", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON),
    Row("Forbidden.*", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON),
    Row("NoPermission.*", BLOCKED, NONE, Reason.ACCESS_DENIED, _COMMON, _RAM),
    # Of STS, which issues the credentials of a role. Nothing here is about an instance.
    Row("EntityNotExist.Role", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _STS, _ROLE),
    Row("EntityNotExist*", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _STS, _IDENTITY_PROVIDER),
    Row("AuthenticationFail.NoPermission", BLOCKED, NONE, Reason.ACCESS_DENIED, _RRSA, _TRUST),
    Row("AuthenticationFail.OIDCToken.Expired", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _RRSA, _CLOCK),
    Row("AuthenticationFail*", BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _RRSA, _IDENTITY_PROVIDER),
    Row("InvalidParameter.DurationSeconds", BLOCKED, NONE, Reason.INVALID_REQUEST, _STS, _DURATION),
    # A request that the gateway cannot route or read.
    Row("InvalidApi.NotFound", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("InvalidAction.NotFound", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("InvalidVersion", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("InvalidProduct.NotFound", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("InvalidProtocol.NeedSsl", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, "use an https endpoint"),
    Row("UnsupportedHTTPMethod", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("MissingParameter", BLOCKED, NONE, Reason.INVALID_REQUEST, _COMMON, _BUG),
    Row("Missing*", BLOCKED, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Missing<Parameter>", _BUG),
    Row("InvalidInstanceId*", BLOCKED, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>"),
    Row("InvalidRegionId*", BLOCKED, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>"),
    Row("InvalidPort*", INVALID, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>"),
    Row("InvalidPage*", BLOCKED, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>", _BUG),
    Row("InvalidParameter*", BLOCKED, NONE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>"),
    # Invalid<something> that is no parameter of ours may be about a state that the call itself brought about.
    Row("Invalid*", BLOCKED, POSSIBLE, Reason.INVALID_REQUEST, f"{_COMMON}: Invalid<Parameter>"),
    # No intelligible answer of the cloud.
    Row(CONNECTION_FAILED, TRANSIENT, NONE, Reason.CLOUD_UNREACHABLE, f"{_OPERATOR}: not one byte of the request left"),
    Row(NO_ANSWER, TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, f"{_OPERATOR}: sent, and nothing came back in time"),
    Row(UNREADABLE_ANSWER, TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, f"{_OPERATOR}: not an answer of this API"),
    Row(REDIRECTED, TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, f"{_OPERATOR}: a redirect, which is not followed"),
    Row(PAUSED, TRANSIENT, NONE, Reason.THROTTLED, f"{_OPERATOR}: the cloud asked for a pause, which is not over"),
    Row(CREDENTIALS_MISSING, BLOCKED, NONE, Reason.CREDENTIALS_UNAVAILABLE, _OPERATOR),
    Row(CREDENTIALS_MALFORMED, BLOCKED, NONE, Reason.CREDENTIALS_INVALID, _OPERATOR),
    Row(CREDENTIALS_UNREADABLE, TRANSIENT, NONE, Reason.CLOUD_UNREACHABLE, f"{_OPERATOR}: Kubernetes does not answer"),
)

# What is left to the HTTP status. An unlisted 4xx is Blocked, not Invalid: nothing says that the spec is at fault, and
# Transient would repeat a call that the cloud rejects, so a person looks. Its effect is Possible as for all unlisted.
UNLISTED_REFUSAL = Row("*", BLOCKED, POSSIBLE, Reason.INVALID_REQUEST, "not listed, HTTP status 4xx")
UNLISTED_THROTTLING = Row("*", TRANSIENT, POSSIBLE, Reason.THROTTLED, "not listed, HTTP status 429")
UNLISTED = Row("*", TRANSIENT, POSSIBLE, Reason.CLOUD_UNREACHABLE, "not listed, any other HTTP status")

_EXACT = {row.code.lower(): row for row in TABLE if "*" not in row.code}
_PATTERNS = tuple((row.code.lower(), row) for row in TABLE if "*" in row.code)
_OWN = frozenset(row.code.lower() for row in TABLE if row.source.startswith(_OPERATOR))


def failure(
    action: str,
    code: str,
    message: str,
    *,
    sent: bool = True,
    http_status: int | None = None,
    request_id: str | None = None,
    retry_after: timedelta | None = None,
) -> CloudError:
    """Return the error for a call that ended with this code; the table says what that means."""
    row = classify(code, http_status)
    return CloudError(
        action=action,
        code=code,
        message=message,
        error_class=row.error_class,
        effect=row.effect,
        reason=row.reason,
        http_status=http_status,
        request_id=request_id,
        sent=sent,
        retry_after=retry_after,
    )


def is_own(code: str) -> bool:
    """Whether this is one of our own codes: what it promises about a call is worth nothing in an answer to one."""
    return code.lower() in _OWN


def classify(code: str | None, http_status: int | None) -> Row:
    """Return the row for a code. Without a code there was no answer, unless there is a status."""
    if code is None and http_status is None:
        return _EXACT[NO_ANSWER.lower()]
    if code is not None:
        lowered = code.lower()
        if lowered in _EXACT:
            return _EXACT[lowered]
        for pattern, row in _PATTERNS:
            if fnmatchcase(lowered, pattern):
                return row
    if http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return UNLISTED_THROTTLING
    is_refusal = http_status is not None and 400 <= http_status < 500  # noqa: PLR2004 - the 4xx range
    return UNLISTED_REFUSAL if is_refusal else UNLISTED
