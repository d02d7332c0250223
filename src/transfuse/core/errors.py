"""Every error that a user can cause, as one tree.

TransfuseError
├── UsageError              an argument is not of the form that the verb takes
│   └── UnknownName         a name that no table knows; says the nearest
├── DataError               the user's examples cannot be read or learnt from
├── SourceError             a source cannot be found, built or opened
│   └── NotCached           it would have to be downloaded, and there is no network
├── WeightsError            tensors that do not fit, or a file that is broken
│   └── UnsafeFile          a file that would run code when opened, or hides something
├── ModelError              a saved Model's folder is missing, incomplete or changed
├── StorageError            no room left, no permission, a corrupt cache entry
├── BudgetError             nothing useful fits into the time given
├── UnsafeLibrary           an installed library is older than the first that opens strangers' files safely
└── MissingExtra            an optional library is not installed; names the extra

Messages say what must hold, what was found instead, and what to do.
"""


class TransfuseError(Exception):
    """Base of all errors that transfuse raises on purpose."""


class UsageError(TransfuseError, ValueError):
    """An argument is not of the form that the verb takes."""


class UnknownName(UsageError):
    """A name that no table knows."""


class DataError(TransfuseError):
    """The user's examples cannot be read or learnt from."""


class SourceError(TransfuseError):
    """A source cannot be found, built or opened."""


class NotCached(SourceError):
    """A source would have to be downloaded, and that failed."""


class WeightsError(TransfuseError):
    """Tensors do not fit the network, or their file is broken."""


class UnsafeFile(WeightsError):
    """A file that would run code when opened, or is not what it claims to be."""


class ModelError(TransfuseError):
    """A saved Model's folder is missing, incomplete or changed since it was written."""


class StorageError(TransfuseError):
    """No room left on the disk, no permission to write, or an entry that is corrupt."""


class BudgetError(TransfuseError):
    """Nothing useful can be done in the time given."""


class UnsafeLibrary(TransfuseError):
    """An installed library is too old to be given files from outside."""


class MissingExtra(TransfuseError, ImportError):
    """An optional library is not installed."""
