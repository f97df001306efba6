"""What an archive looks like.

A gzip-compressed tar archive of small members – no member is larger than a page of rows or a piece of a file, so that
both sides need little memory – and at its end `manifest.json`, which names every member with its SHA-256, and
`manifest.sha256`, which does so for the manifest. What has no end was cut off.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from llm_backend.domain.errors import DomainError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.sha256"
LARGEST_MEMBER: Final = 512 * 1024 * 1024  # bytes; a row is as large as what it holds, and what claims more is damaged


class ArchiveDamaged(DomainError):
    """It is not what was written, or none of ours. Nothing was taken from it."""

    code = "archive_damaged"
    default_message = "This is no whole archive of this program: it is damaged, cut off, or something else"


class Manifest(Struct, frozen=True, kw_only=True):
    """What is in an archive. `about` is for whoever made it."""

    format: int
    members: Mapping[str, str]
    """SHA-256 by name, in the order of the archive."""
    about: Mapping[str, object]
