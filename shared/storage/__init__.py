"""Everything durable: objects in Blob Storage or in a folder, and what is made of them."""

from shared.storage import formats
from shared.storage.folder import FolderStore
from shared.storage.folder_files import FolderRoot
from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.idempotency import Claim, IdempotencyStore
from shared.storage.ids import Operation, is_id, iso_utc, made_at, new_id, owner_key, pseudonym_of
from shared.storage.leases import Lease, LeasedRecord, LeasedRecords, Renewal
from shared.storage.links import SHORT_LINK_PATH, LinkSigner
from shared.storage.media import (
    MAX_FRESH_MEDIA,
    Media,
    MediaInfo,
    MediaPage,
    MediaRecord,
    MediaStore,
    Origin,
    cache_control,
    find_media,
    media_origin,
    served_type,
)
from shared.storage.objects import (
    ContentHeaders,
    LogFull,
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
from shared.storage.orphans import OrphanCounts, Orphans
from shared.storage.read_objects import ReadObjects
from shared.storage.records import (
    Record,
    RecordPage,
    Records,
    Versioned,
    decode_cursor,
    encode_cursor,
    list_ids,
)
from shared.storage.retries import keep_retrying, retry_write
from shared.storage.service import Storage
from shared.storage.shared_keys import SharedKey
from shared.storage.work_items import WORK_KINDS, WorkItem, WorkItems, WorkKind, due_at, owner_in

__all__ = [
    "MAX_FRESH_MEDIA",
    "SHORT_LINK_PATH",
    "WORK_KINDS",
    "Claim",
    "ContentHeaders",
    "FolderRoot",
    "FolderStore",
    "IdempotencyStore",
    "Lease",
    "LeasedRecord",
    "LeasedRecords",
    "LinkSigner",
    "LogFull",
    "Media",
    "MediaFormat",
    "MediaInfo",
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
    "Origin",
    "OrphanCounts",
    "Orphans",
    "RangeNotSatisfiable",
    "ReadObjects",
    "Record",
    "RecordPage",
    "Records",
    "Renewal",
    "SharedKey",
    "Storage",
    "Versioned",
    "WorkItem",
    "WorkItems",
    "WorkKind",
    "cache_control",
    "decode_cursor",
    "due_at",
    "encode_cursor",
    "find_media",
    "formats",
    "is_id",
    "iso_utc",
    "keep_retrying",
    "list_ids",
    "made_at",
    "media_origin",
    "new_id",
    "owner_in",
    "owner_key",
    "pseudonym_of",
    "retry_write",
    "served_type",
]
