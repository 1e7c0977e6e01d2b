"""Refusals of the cloud: one exception, and one table of the codes that it carries.

The table is the single place that knows the HTTP status and the text of a code. Everything that says no raises
``CloudError``; ``replies`` turns it into bytes.
"""

# Sources: the API pages ReleaseDirectConnection, AllocateDirectConnection and DescribeInstances, and the tables of
# common errors in the Alibaba Cloud help centre. Entries below "Guesses" have a documented name pattern and no text.
DOCUMENTED: dict[str, tuple[int, str]] = {
    "ConnectionStringAlreadyExists": (400, "Specified connection string already exists in the Aliyun RDS."),
    "DirectConnectionAlreadyExists": (400, "Specified instance direct connection already exists."),
    "IncompleteSignature": (400, "The request signature does not conform to Aliyun standards."),
    "InstanceStatus.NotSupport": (403, "Instance status does not support this operation."),
    "InvalidAccessKeyId.Inactive": (400, "Specified access key is disabled."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidConnType": (400, "Specified DB instance conn type is not valid."),
    "InvalidConnectionString": (400, r"ConnectionString is invalid, valid regex: ^\w+$"),
    "InvalidConnectionString.Format": (400, "Specified connection string is not valid."),
    "InvalidDbInstanceId.NotFound": (404, "Specified instance does not exist."),
    "InvalidInstanceId.NotFound": (404, "The specified instance does not exist."),
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
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "TaskHasExist": (400, "The task already exists."),
    "UnsupportedHTTPMethod": (400, "This http method is not supported."),
    # Guesses.
    "InvalidInstanceIds": (400, "InstanceIds names more than 30 instances."),
    "InvalidPageNumber": (400, "PageNumber is not a whole number from 1."),
    "InvalidPageSize": (400, "PageSize is not a whole number from 1 to 50."),
    "InvalidPort": (400, "Port is not a whole number from 1024 to 65535."),
    "MissingInstanceId": (400, "InstanceId is mandatory for this action."),
    "MissingRegionId": (400, "RegionId is mandatory for this action."),
}


class CloudError(Exception):
    """The cloud says no: a ``Code``, the HTTP status and the ``Message`` that go with it."""

    def __init__(self, code: str, message: str, http_status: int) -> None:
        super().__init__(f"{http_status} {code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


def refusal(code: str) -> CloudError:
    """Return the refusal with this documented code, its usual text and its usual HTTP status."""
    http_status, message = DOCUMENTED[code]
    return CloudError(code, message, http_status)
