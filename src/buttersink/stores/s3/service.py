"""Requests to one bucket: sent, repeated while that may help, and their errors told apart."""

from __future__ import annotations

from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.exceptions import IncompleteReadError

from buttersink.errors import TransferError
from buttersink.stores.s3.errors import (
    FOREIGN,
    Fault,
    RequestError,
    failure_of,
    user_error,
)
from buttersink.stores.s3.retries import Attempts

if TYPE_CHECKING:
    from buttersink.stores.s3.settings import S3Settings

_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
_COPY_SECONDS: Final = 900
"""Without an answer: some services say nothing until all bytes are copied or joined."""

_QUICK_ATTEMPTS: Final = 3
"""That boto3 makes by itself, with pauses of a second or two, before ours become longer."""

_COPYING: Final = frozenset({"copy_object", "upload_part_copy", "complete_multipart_upload"})
_NONE: Final[frozenset[Fault]] = frozenset()
_WITHOUT_ANSWER: Final = frozenset(
    {Fault.UNREACHABLE, Fault.BROKEN, Fault.TLS, Fault.NO_CREDENTIALS, Fault.SETUP}
)


class Service:
    """The one place where boto3 is called, which has no types: answers are dictionaries.

    Several threads may use it at once.

    Args:
        settings: The bucket and how to reach it.

    Raises:
        UsageError: The profile or the endpoint can't be used.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._stop = Event()
        self._lock = Lock()
        self._was_reached = False
        try:
            self._session = boto3.session.Session(
                profile_name=settings.profile, region_name=settings.region
            )
            style = _style(settings.path_style, settings.endpoint_url)
            self._client = self._new_client(style, _READ_SECONDS, _QUICK_ATTEMPTS)
            # The endpoint may also come from the environment or the profile.
            self._style = _style(settings.path_style, str(self._client.meta.endpoint_url))
            if self._style != style:
                self._client = self._new_client(self._style, _READ_SECONDS, _QUICK_ATTEMPTS)
            self._credentials = self._session.get_credentials()
        except FOREIGN as error:
            raise user_error(failure_of(error), f"opening {self.name}") from error
        self._copying_client: Any = None

    @property
    def name(self) -> str:
        """The bucket as a user would write it."""
        return f"s3://{self._settings.bucket}/"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._settings.bucket

    @property
    def endpoint(self) -> str:
        """What tells services apart: the endpoint's address; for AWS the same in all regions."""
        url = str(self._client.meta.endpoint_url)
        return "aws" if _is_aws(url) else url.rstrip("/").lower()

    @property
    def account(self) -> tuple[str, str]:
        """The service and the access key: who has the same may copy between their buckets."""
        key = self._credentials.access_key if self._credentials else ""
        return self.endpoint, str(key)

    def request(
        self,
        operation: str,
        doing: str,
        *,
        expected: frozenset[Fault] = _NONE,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Send a request about the bucket and return the answer.

        Failures that may pass are repeated for `retry_seconds`, except while the service has
        never answered at all: then it is the address that is wrong, more likely than not.

        Args:
            operation: The name of a method of boto3's client.
            doing: What is tried, for the message of an error.
            expected: Faults to raise as `RequestError`, at once.
            parameters: The request, but for the bucket.

        Raises:
            RequestError: It failed with one of the `expected` faults.
            ButterSinkError: It failed otherwise.
        """
        attempts = self.attempts()
        is_repeated = False
        while True:
            if self._stop.is_set():
                raise TransferError(f"{doing}: stopped")
            try:
                answer: dict[str, Any] = getattr(self._client_for(operation), operation)(
                    Bucket=self._settings.bucket, **parameters
                )
            except FOREIGN as error:
                failure = failure_of(error)
                self._was_reached |= failure.fault not in _WITHOUT_ANSWER or isinstance(
                    error, IncompleteReadError
                )
                if failure.fault in expected:
                    retried = is_repeated or failure.retried
                    raise RequestError(replace(failure, retried=retried)) from error
                may_pass = failure.is_transient and self._was_reached
                if not (may_pass and attempts.wait()):
                    raise user_error(failure, doing) from error
                is_repeated = True
                continue
            self._was_reached = True
            return answer

    def attempts(self) -> Attempts:
        """Return the pauses between the attempts at something, which end with the service."""
        return Attempts(self._settings.retry_seconds, self._stop)

    def close(self) -> None:
        """End pauses and refuse further requests; those under way end by themselves."""
        self._stop.set()
        with self._lock:
            for client in (self._client, self._copying_client):
                if client is not None:
                    client.close()

    def _client_for(self, operation: str) -> Any:
        if operation not in _COPYING:
            return self._client
        with self._lock:
            if self._copying_client is None:
                self._copying_client = self._new_client(self._style, _COPY_SECONDS, 1)
            return self._copying_client

    def _new_client(self, style: str, read_seconds: int, attempts: int) -> Any:
        # Checksums are sent as headers of our own choice: boto3's default is a trailer, which
        # several services refuse. With that, hashing each body once more for the signature
        # would only cost time.
        addressing: Any = {"payload_signing_enabled": False, "addressing_style": style}
        config = Config(
            signature_version="s3v4",
            s3=addressing,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=self._settings.jobs + 2,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            tcp_keepalive=True,
            user_agent_extra="buttersink",
        )
        region = self._session.region_name or "us-east-1"
        client: Any = self._session.client(
            "s3", region_name=region, endpoint_url=self._settings.endpoint_url, config=config
        )
        client.meta.events.register("before-parse.s3", _refuse_cut_body)
        return client


def _refuse_cut_body(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Raise for an answer whose connection was cut between its head and its body.

    boto3 notices that only if at least a byte of the body came. Else it would take a listing for
    that of an empty bucket.
    """
    body, announced = response_dict["body"], response_dict["headers"].get("content-length", "")
    if operation_model.http["method"] == "HEAD" or not isinstance(body, bytes):
        return  # there is none, or it is read bit by bit, and counted then
    if announced.isdecimal() and len(body) < int(announced):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(announced))


def _style(path_style: bool | None, endpoint_url: str | None) -> str:  # noqa: FBT001 - a setting
    if path_style is None:
        path_style = endpoint_url is not None and not _is_aws(endpoint_url)
    return "path" if path_style else "auto"


def _is_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
