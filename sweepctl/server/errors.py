"""The errors that a request can end in; `web.answers` gives each its HTTP status."""

from __future__ import annotations

from sweepctl_pod.errors import SweepctlError


class NotFoundError(SweepctlError):
    """What the request names does not exist, or does not exist any more."""


class GoneError(SweepctlError):
    """The run was deleted: its id is never used again, and its client is to give up."""


class BadMessageError(SweepctlError):
    """The message is not of the form that the protocol gives."""


class FileNameError(SweepctlError):
    """A run can have no file of this name."""


class StoreUnavailableError(SweepctlError):
    """The data cannot be read or written now (disk full, I/O error): the request may come again."""


class EngineUnavailableError(SweepctlError):
    """W&B's search engine does not answer now; the same request may succeed later."""
