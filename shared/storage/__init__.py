"""Everything durable: objects in Blob Storage or in a folder, and what is made of them."""

from shared.storage.deferred import DeferredStore
from shared.storage.documents import Documents
from shared.storage.folder import FolderStore
from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.idempotency import IdempotencyStore
from shared.storage.ids import Operation, is_id, new_id, owner_key
from shared.storage.links import LinkSigner
from shared.storage.media import Media, MediaPage, MediaRecord, MediaStore
from shared.storage.objects import (
    ContentHeaders,
    ObjectChanged,
    ObjectConflict,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    ObjectStore,
    ObjectStream,
    RangeNotSatisfiable,
)
from shared.storage.service import Storage

__all__ = [
    "ContentHeaders",
    "DeferredStore",
    "Documents",
    "FolderStore",
    "IdempotencyStore",
    "LinkSigner",
    "Media",
    "MediaFormat",
    "MediaKind",
    "MediaPage",
    "MediaRecord",
    "MediaStore",
    "ObjectChanged",
    "ObjectConflict",
    "ObjectExists",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectPage",
    "ObjectStore",
    "ObjectStream",
    "Operation",
    "RangeNotSatisfiable",
    "Storage",
    "is_id",
    "new_id",
    "owner_key",
]
