"""What a user can choose about a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from buttersink.errors import UsageError

AES256: Final = "AES256"
KMS: Final = "aws:kms"
MOST_PARTS: Final = 10_000
"""Of one upload, on AWS; some services take 1,000 only."""

MIB: Final = 1 << 20
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """A bucket and how to use it; None leaves the choice to boto3's environment and files.

    Attributes:
        bucket: Its name.
        state_directory: Local directory for locks and journals of uploads; made when needed.
        endpoint_url: Of a service other than AWS, such as https://minio.example:9000.
        region: Of the bucket.
        profile: Section of ~/.aws/config and ~/.aws/credentials.
        storage_class: Of objects that are uploaded or copied, such as STANDARD_IA; empty for the
            bucket's own, which small objects always get.
        sse: Encryption that the service is asked for: "AES256", "aws:kms", "aws:kms:KEY", or
            "none" to leave it to the bucket.
        jobs: Requests that may be under way at once.
        path_style: Whether the bucket stands in the path of addresses instead of the host's
            name; None for the path, except on AWS.
        part_count: Most parts of an upload that the service takes.
        copy_limit: Most bytes that the service copies in one request.
        retry_seconds: How long a request that fails for a passing reason is repeated.
    """

    bucket: str
    state_directory: str
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    storage_class: str = ""
    sse: str = AES256
    jobs: int = 4
    path_style: bool | None = None
    part_count: int = MOST_PARTS
    copy_limit: int = 5 * GIB
    retry_seconds: float = 240.0

    def __post_init__(self) -> None:
        if self.sse not in {AES256, KMS, "none"} and not self.sse.startswith(f"{KMS}:"):
            raise UsageError(
                f"{self.sse!r} is no encryption that S3 knows", "AES256, aws:kms[:KEY] or none"
            )
        if not 1 <= self.part_count <= MOST_PARTS:
            raise UsageError(
                f"an upload can't have {self.part_count} parts", f"1 to {MOST_PARTS} are possible"
            )
        if self.jobs < 1:
            raise UsageError(f"{self.jobs} requests at once are too few", "1 or more")
