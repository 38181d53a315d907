"""Files that were uploaded, or that a batch wrote."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import attrs

from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.stored_content import StoredContent

DAY = 24 * 60 * 60
_LIFETIME = 30 * DAY


@attrs.frozen(kw_only=True, eq=False)
class StoredFile:
    """A file.

    Args:
        content: Its bytes.
        filename: Its name.
        purpose: ``batch`` for an input, ``batch_output`` for a file that a batch wrote.
        created_at: Unix time in seconds.
        expires_at: Unix time in seconds; from then on the file is gone.
        listed_from: Unix time in seconds; from then on it is in the list of files.
        id: Its id; new for each file, also in another process with the same seed.
    """

    content: StoredContent
    filename: str
    purpose: str
    created_at: float
    expires_at: float
    listed_from: float
    id: str = attrs.field(factory=lambda: f"file-{uuid4().hex[:24]}")

    def body(self) -> dict[str, Any]:
        """The file as the API shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": int(self.created_at),
            "expires_at": int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class FileStore:
    """The files of an endpoint.

    Args:
        listing_delay: Seconds until a new file is in the list of files.
    """

    def __init__(self, listing_delay: float) -> None:
        self._listing_delay = listing_delay
        self._files: dict[str, StoredFile] = {}

    def add(
        self, content: StoredContent, filename: str, purpose: str, now: float, lifetime: float | None
    ) -> StoredFile:
        """Keep a file; without a ``lifetime`` in seconds, for 30 days."""
        file = StoredFile(
            content=content,
            filename=filename,
            purpose=purpose,
            created_at=now,
            expires_at=now + (_LIFETIME if lifetime is None else lifetime),
            listed_from=now + self._listing_delay,
        )
        self._files[file.id] = file
        return file

    def get(self, id: str, now: float) -> StoredFile:
        """The file with this id; raises `RejectedRequest` with status 404 if there is none."""
        file = self._files.get(id)
        if file is None or file.expires_at <= now:
            raise RejectedRequest(404, f"No such File object: {id}", param="id")
        return file

    def delete(self, id: str, now: float) -> None:
        """Delete the file with this id. A batch that reads it already is not affected."""
        del self._files[self.get(id, now).id]

    def listed(self, now: float) -> Iterator[StoredFile]:
        """The files in the list of files, oldest first."""
        return (file for file in self._files.values() if file.listed_from <= now < file.expires_at)
