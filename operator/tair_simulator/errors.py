"""Refusals of the cloud: one exception, and the tables of the codes that it carries.

The tables are the single place that knows the HTTP status and the text of a code. Everything that says no raises
``CloudError``; ``replies`` turns it into bytes.
"""

from collections.abc import Mapping

# Sources: the API pages ReleaseDirectConnection, AllocateDirectConnection and DescribeInstances, and the tables of
# common errors in the Alibaba Cloud help centre. Entries below "Guesses" have a documented name or name pattern, but no
# text, or a status that sources disagree about. Not all of them are refusals of this simulator's own: a fault may send
# each.
DOCUMENTED: dict[str, tuple[int, str]] = {
    "ConnectionStringAlreadyExists": (400, "Specified connection string already exists in the Aliyun RDS."),
    "DirectConnectionAlreadyExists": (400, "Specified instance direct connection already exists."),
    "Forbidden.RAM": (
        403,
        "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
    ),
    "HasDirectConnectionNotSupport": (403, "The instance has a direct connection and does not support this operation."),
    "IncompleteSignature": (400, "The request signature does not conform to Aliyun standards."),
    "IncorrectDBInstanceState": (403, "Current DB instance state does not support this operation."),
    "IncorrectMinorVersion": (403, "Current engine minor version does not support operations."),
    "InstanceStatus.NotSupport": (403, "Instance status does not support this operation."),
    "InvalidAccessKeyId.Inactive": (400, "Specified access key is disabled."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidConnType": (400, "Specified DB instance conn type is not valid."),
    "InvalidConnectionString": (400, r"ConnectionString is invalid, valid regex: ^\w+$"),
    "InvalidConnectionString.Format": (400, "Specified connection string is not valid."),
    "InvalidDbInstanceId.NotFound": (404, "Specified instance does not exist."),
    "InvalidInstanceId.NotFound": (404, "The specified instance does not exist."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "InvalidSecurityToken.Expired": (400, "Specified SecurityToken is expired."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidSecurityToken.MismatchWithAccessKey": (400, "Specified SecurityToken mismatch with the AccessKey."),
    "InvalidSignatureMethod": (400, "Specified signature method is not valid."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "InvalidVPCParamGroup": (400, "Specified vpc param group is not valid."),
    "InvalidVersion": (404, "Specified parameter Version is not valid."),
    "MissingSecurityToken": (400, "SecurityToken is mandatory for this action."),
    "NetTypeExists": (400, "Specified net type already existed"),
    "NetTypeNotExists": (400, "Specified net type not existed."),
    "NoPermission": (403, "You are not authorized to do this operation."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": (400, "Specified signature does not match our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "TaskHasExist": (400, "The task already exists."),
    "Throttling": (400, "Request was denied due to request throttling."),
    "Throttling.Api": (403, "Request was denied due to api flow control."),
    "Throttling.User": (400, "Request was denied due to user flow control."),
    "UnsupportedEngineVersion": (403, "Current engine version does not support operations."),
    "UnsupportedHTTPMethod": (400, "This http method is not supported."),
    # Guesses.
    "ContentMD5NotMatched": (400, "The specified Content-MD5 value is invalid."),
    "Forbedden.NotSupportRAM": (403, "This action does not support accessed by RAM mode."),
    "Forbidden": (403, "User not authorized to operate on the specified resource."),
    "Forbidden.InstanceNotFound": (404, "The specified instance is not found."),
    "Forbidden.RiskControl": (403, "This operation is forbidden by the risk control system."),
    "IllegalTimestamp": (400, "The input parameter Timestamp that is mandatory is not valid."),
    "InvalidApi.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidDBInstance.NotFound": (404, "Specified instance does not exist."),
    # As the operations page spells it but for one letter; other products and other pages have it so.
    "InvalidDBInstanceId.NotFound": (404, "Specified instance does not exist."),
    "InvalidInstanceIds": (400, "InstanceIds names more than 30 instances."),
    "InvalidPageNumber": (400, "PageNumber is not a whole number from 1."),
    "InvalidPageSize": (400, "PageSize is not a whole number from 1 to 50."),
    "InvalidPort": (400, "Port is not a whole number from 1024 to 65535."),
    "InvalidProduct.NotFound": (404, "Cannot find product according to your specified domain."),
    "InvalidProtocol.NeedSsl": (404, "Your request is denied as lack of ssl protect."),
    "LockTimeout": (400, "The request conflicts with another request."),
    "MissingInstanceId": (400, "InstanceId is mandatory for this action."),
    "MissingParameter": (400, "An input parameter that is mandatory for processing this request is not supplied."),
    "MissingRegionId": (400, "RegionId is mandatory for this action."),
    "NotFound": (404, "The specified resource is not found."),
    "OperationDenied.DBInstanceStatus": (403, "The operation is not permitted due to status of instance."),
    "ProxyError": (400, "An error occurred in the proxy. Try again later."),
    "Rejected.Throttling": (400, "Request was rejected due to throttling."),
    "Unkown.Exception": (400, "An unknown exception occurred."),
}

# Of STS. Sources: error codes of STS 2015-04-01, API page AssumeRole, and the guide "How to handle the common errors
# when you access OSS by using STS" in the Alibaba Cloud help centre.
OF_STS: dict[str, tuple[int, str]] = {
    "AuthenticationFail.NoPermission": (401, "There is no permission"),
    "AuthenticationFail.OIDCToken.AudienceNotMatch": (401, "Invalid audience."),
    "AuthenticationFail.OIDCToken.Expired": (401, "This JsonWebToken is expired."),
    "AuthenticationFail.OIDCToken.Invalid": (401, "The Jwt content is invalid that cannot be recognized."),
    "AuthenticationFail.OIDCToken.InvalidSignature": (401, "OIDC token validate failed: invalid signature."),
    "InvalidParameter.DurationSeconds": (400, "The Min/Max value of DurationSeconds is 15min/1hr."),
    "InvalidParameter.PolicyGrammar": (400, "The parameter Policy has not passed grammar check."),
    "InvalidParameter.RoleSessionName": (400, "The parameter RoleSessionName is wrongly formed."),
    # Guesses: documented names without a text or a status.
    "AuthenticationFail.OIDCToken.IssuerNotMatch": (401, "The issuer of the OIDC token does not match the provider."),
    "AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch": (401, "The public key of the token is not known."),
    "EntityNotExist.Role": (404, "The specified Role not exists."),
    "InvalidParameter.RoleArn": (400, "The parameter RoleArn is wrongly formed."),
}
KNOWN = {**DOCUMENTED, **OF_STS}


class CloudError(Exception):
    """The cloud says no: a ``Code``, the HTTP status and the ``Message`` that go with it, and sometimes more."""

    def __init__(
        self,
        code: str,
        message: str,
        http_status: int,
        *,
        retry_after_ms: int | None = None,
        access_denied_detail: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{http_status} {code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retry_after_ms = retry_after_ms
        self.access_denied_detail = access_denied_detail


def refusal(
    code: str,
    message: str | None = None,
    *,
    retry_after_ms: int | None = None,
    access_denied_detail: Mapping[str, str] | None = None,
) -> CloudError:
    """Return the refusal with this known code, its usual HTTP status, and its usual text or another one."""
    http_status, usual = KNOWN[code]
    return CloudError(
        code, message or usual, http_status, retry_after_ms=retry_after_ms, access_denied_detail=access_denied_detail
    )


def missing(name: str) -> CloudError:
    """Return the refusal of a request without this parameter or header."""
    return refusal(
        "MissingParameter",
        f'The input parameter "{name}" that is mandatory for processing this request is not supplied.',
    )
