"""Buckets of S3 and of services that speak like it, as a shelf; boto3 stays inside this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.errors import UsageError
from buttersink.stores.s3.settings import S3Settings

if TYPE_CHECKING:
    from buttersink.stores.s3.shelf import S3Shelf

__all__ = ["S3Settings", "open_shelf"]


def open_shelf(settings: S3Settings) -> S3Shelf:
    """Return the shelf of a bucket. No request is sent yet.

    Raises:
        UsageError: boto3 is not installed, or the profile or endpoint can't be used.
    """
    try:
        from buttersink.stores.s3.shelf import S3Shelf  # noqa: PLC0415 - a third of a second
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise UsageError(
            f"s3://{settings.bucket}/: the library boto3 is not installed",
            "pip install buttersink[s3]",
        ) from error
    return S3Shelf(settings)
