"""From what boto3 raises to what a user can act on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import botocore.exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    NotPermittedError,
    PathTakenError,
    TransferError,
    UnavailableError,
    UsageError,
)

FOREIGN: Final = (
    boto.BotoCoreError,
    boto.ClientError,
    ResponseParserError,
    HTTPError,
    OSError,
    RecursionError,  # boto3 asks where a redirect leads, is redirected, and so on
    ValueError,  # an endpoint that is no address, a key that is not UTF-8
)
"""All that boto3 is known to raise."""


class Fault(Enum):
    """What can be wrong with a request."""

    MISSING = auto()
    NO_BUCKET = auto()
    NO_UPLOAD = auto()
    PRECONDITION = auto()
    CONFLICT = auto()
    UNSUPPORTED = auto()
    INVALID = auto()
    DIGEST = auto()
    RANGE = auto()
    ARCHIVED = auto()
    THAWING = auto()
    DENIED = auto()
    ACCESS_KEY = auto()
    SECRET_KEY = auto()
    EXPIRED = auto()
    CLOCK = auto()
    REGION = auto()
    REDIRECTED = auto()
    PART = auto()
    PART_SIZE = auto()
    STORAGE_CLASS = auto()
    KEY_MANAGEMENT = auto()
    NO_CREDENTIALS = auto()
    SETUP = auto()
    TLS = auto()
    UNREACHABLE = auto()
    BROKEN = auto()
    OVERLOADED = auto()
    INTERNAL = auto()
    OTHER = auto()


TRANSIENT: Final = frozenset({Fault.UNREACHABLE, Fault.BROKEN, Fault.OVERLOADED, Fault.INTERNAL})

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList; answers
# without a body (HEAD) have the status as their code.
_CODES: Final = {
    Fault.MISSING: "NoSuchKey 404 NotFound NoSuchVersion",
    Fault.NO_BUCKET: "NoSuchBucket InvalidBucketName",
    Fault.NO_UPLOAD: "NoSuchUpload",
    Fault.PRECONDITION: "PreconditionFailed 412",
    Fault.CONFLICT: "ConditionalRequestConflict 409",
    Fault.UNSUPPORTED: "NotImplemented 501 MethodNotAllowed 405",
    Fault.INVALID: "InvalidArgument InvalidRequest MalformedXML 400 BadRequest "
    "InvalidEncryptionAlgorithmError",
    Fault.DIGEST: "BadDigest InvalidDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch",
    Fault.RANGE: "InvalidRange 416",
    Fault.ARCHIVED: "InvalidObjectState ObjectNotInActiveTierError",
    Fault.THAWING: "RestoreAlreadyInProgress",
    Fault.DENIED: "AccessDenied AccessDeniedException AllAccessDisabled Forbidden 403",
    Fault.ACCESS_KEY: "InvalidAccessKeyId InvalidClientTokenId",
    Fault.SECRET_KEY: "SignatureDoesNotMatch InvalidSecurity",
    Fault.EXPIRED: "ExpiredToken ExpiredTokenException InvalidToken TokenRefreshRequired",
    Fault.CLOCK: "RequestTimeTooSkewed RequestExpired",
    Fault.REGION: "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraint "
    "IllegalLocationConstraintException InvalidRegion Redirect 301 307",
    Fault.PART: "InvalidPart InvalidPartOrder",
    Fault.PART_SIZE: "EntityTooSmall EntityTooLarge",
    Fault.STORAGE_CLASS: "InvalidStorageClass",
    Fault.OVERLOADED: "SlowDown Throttling ThrottlingException ThrottledException 503 429 "
    "RequestThrottled TooManyRequests TooManyRequestsException RequestLimitExceeded "
    "BandwidthLimitExceeded ServiceUnavailable",
    Fault.BROKEN: "RequestTimeout RequestTimeoutException IncompleteBody 408",
    Fault.INTERNAL: "InternalError InternalServerError OperationAborted",
}
_FAULTS: Final = {code: fault for fault, codes in _CODES.items() for code in codes.split()}

_CREDENTIALS_HINT: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of ~/.aws/credentials"
)
_LATER: Final = "try again later"
_TAKEN: Final = "there is an object already"
_MEANINGS: Final[dict[Fault, tuple[type[ButterSinkError], str, str]]] = {
    Fault.MISSING: (MissingError, "there is no such object", ""),
    Fault.NO_BUCKET: (UsageError, "there is no such bucket", "check its name, or create it"),
    Fault.NO_UPLOAD: (MissingError, "the upload is not there any more", "run again"),
    Fault.PRECONDITION: (PathTakenError, _TAKEN, ""),
    Fault.CONFLICT: (TransferError, "another program writes there at the same time", "run again"),
    Fault.UNSUPPORTED: (TransferError, "the service can't do that", ""),
    Fault.INVALID: (TransferError, "the service does not take the request", ""),
    Fault.DIGEST: (TransferError, "the bytes arrived damaged", "check memory and network"),
    Fault.RANGE: (TransferError, "the object is shorter than that", ""),
    Fault.ARCHIVED: (TransferError, "the object is archived", "it must be thawed first"),
    Fault.THAWING: (TransferError, "the object is being thawed already", ""),
    Fault.DENIED: (NotPermittedError, "access denied", "docs/s3.md shows what must be allowed"),
    Fault.ACCESS_KEY: (NotPermittedError, "the access key is unknown there", _CREDENTIALS_HINT),
    Fault.SECRET_KEY: (
        NotPermittedError,
        "the secret key does not belong to the access key",
        _CREDENTIALS_HINT,
    ),
    Fault.EXPIRED: (NotPermittedError, "the session token is not valid any more", "log in again"),
    Fault.CLOCK: (NotPermittedError, "this machine's clock is wrong", "set it, by NTP best"),
    Fault.REGION: (UsageError, "the bucket is in another region", "name its region"),
    Fault.REDIRECTED: (
        UsageError,
        "the service redirects requests",
        "check the endpoint: https or http, and the region",
    ),
    Fault.PART: (TransferError, "a part is not what was sent", "run again"),
    Fault.PART_SIZE: (TransferError, "a part is too small or too large", "change the part size"),
    Fault.STORAGE_CLASS: (UsageError, "the service has no such storage class", ""),
    Fault.KEY_MANAGEMENT: (NotPermittedError, "the encryption key can't be used", ""),
    Fault.NO_CREDENTIALS: (NotPermittedError, "no credentials found", _CREDENTIALS_HINT),
    Fault.SETUP: (UsageError, "the settings can't be used", ""),
    Fault.TLS: (
        TransferError,
        "the connection can't be made secure",
        "name the authority's certificate in AWS_CA_BUNDLE",
    ),
    Fault.UNREACHABLE: (UnavailableError, "the service can't be reached", "check the endpoint"),
    Fault.BROKEN: (UnavailableError, "the connection broke", _LATER),
    Fault.OVERLOADED: (UnavailableError, "the service is overloaded", _LATER),
    Fault.INTERNAL: (UnavailableError, "the service had an internal error", _LATER),
    Fault.OTHER: (TransferError, "the service refused", ""),
}
# What is allowed or denied, by the operation that needs it:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_ACTIONS: Final = {
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
    "HeadObject": "s3:GetObject or s3:ListBucket",
    "GetObject": "s3:GetObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CopyObject": "s3:GetObject or s3:PutObject",
    "UploadPartCopy": "s3:GetObject or s3:PutObject",
}
_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], Fault], ...]] = (
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError),
        Fault.NO_CREDENTIALS,
    ),
    ((boto.TokenRetrievalError, boto.SSOError), Fault.EXPIRED),
    ((RecursionError,), Fault.REDIRECTED),
    ((boto.SSLError,), Fault.TLS),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        Fault.UNREACHABLE,
    ),
    (
        (boto.HTTPClientError, boto.IncompleteReadError, ResponseParserError, HTTPError, OSError),
        Fault.BROKEN,
    ),
    ((Exception,), Fault.SETUP),
)
"""What is wrong when there was no answer; the first that fits counts."""

_DENIED_ACTION: Final = re.compile(r"not authorized to perform: ([\w-]+:\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that failed.

    Attributes:
        fault: What is wrong.
        detail: The service's or the library's own words; may be empty.
        denied: The action that was not allowed, if that is the fault.
        retried: Whether it had been sent before, so that the first may have had its effect.
    """

    fault: Fault
    detail: str = ""
    denied: str = ""
    retried: bool = False

    @property
    def is_transient(self) -> bool:
        """Whether it may pass."""
        return self.fault in TRANSIENT


class RequestError(Exception):
    """A failure that the one who sent the request said to expect; never leaves the package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def failure_of(error: Exception) -> Failure:
    """Tell what is wrong from one of the `FOREIGN` errors."""
    if isinstance(error, boto.ClientError):
        return _answered(error)
    fault = _unanswered(error)
    return Failure(fault=fault, detail="" if fault is Fault.REDIRECTED else _one_line(str(error)))


def user_error(failure: Failure, doing: str) -> ButterSinkError:
    """Return the error that a user understands.

    Args:
        failure: What is wrong.
        doing: What was tried, for the message.
    """
    kind, meaning, hint = _MEANINGS[failure.fault]
    if failure.denied:
        meaning = f"{meaning}, {failure.denied} is not allowed"
    if failure.detail:
        meaning = f"{meaning}: {failure.detail}"
    return kind(f"{doing}: {meaning}", hint)


def _answered(error: boto.ClientError) -> Failure:
    told = error.response.get("Error", {})
    about = error.response.get("ResponseMetadata", {})
    code, text = str(told.get("Code", "")), _one_line(str(told.get("Message", "")))
    fault = _FAULTS.get(code) or _fault_by_status(code, int(about.get("HTTPStatusCode", 0)))
    denied = ""
    if fault is Fault.DENIED:
        named = _DENIED_ACTION.search(text)
        operation = str(error.operation_name)
        denied = named[1] if named else _ACTIONS.get(operation, f"s3:{operation}")
        text = ""  # it says no more than that
    elif fault in {Fault.INVALID, Fault.OTHER, Fault.KEY_MANAGEMENT, Fault.REGION}:
        text = f"{code}: {text}" if text else code
    else:
        text = ""
    retried = int(about.get("RetryAttempts", 0)) > 0
    return Failure(fault=fault, detail=text, denied=denied, retried=retried)


def _fault_by_status(code: str, status: int) -> Fault:
    if code.startswith("KMS."):
        return Fault.KEY_MANAGEMENT
    if status == 501:  # noqa: PLR2004 - HTTP: Not Implemented
        return Fault.UNSUPPORTED
    if status >= 500:  # noqa: PLR2004 - HTTP: the server's fault
        return Fault.INTERNAL
    return Fault.OTHER


def _unanswered(error: Exception) -> Fault:
    if isinstance(error, boto.SSLError) and "EOF occurred" in str(error):
        return Fault.BROKEN  # cut during the handshake
    if isinstance(error, boto.HTTPClientError):
        inner = error.kwargs.get("error")
        if isinstance(inner, RecursionError):
            return Fault.REDIRECTED
    return next(fault for kinds, fault in _KINDS if isinstance(error, kinds))


def _one_line(text: str) -> str:
    return " ".join(text.split())
