"""Everything durable: objects in Blob Storage or in a folder, and what is made of them."""

from shared.storage.conversation_log import Line
from shared.storage.conversation_pages import ConversationPage, ConversationSummary
from shared.storage.conversation_view import Conversation, present_conversation
from shared.storage.conversations import ConversationList, ConversationStore
from shared.storage.folder import FolderStore
from shared.storage.formats import MediaFormat, MediaKind
from shared.storage.idempotency import Claim, IdempotencyStore
from shared.storage.ids import Operation, is_id, made_at, new_id, owner_key
from shared.storage.keys import SharedKey
from shared.storage.leases import Lease, LeasedRecord, LeasedRecords
from shared.storage.links import LinkSigner
from shared.storage.media import MediaStore
from shared.storage.media_index import MediaPage, MediaRecord, Origin
from shared.storage.media_json import MAX_FRESH_MEDIA, Media, MediaInfo, find_media
from shared.storage.media_objects import cache_control
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
from shared.storage.records import (
    Record,
    RecordPage,
    Records,
    Versioned,
    decode_cursor,
    encode_cursor,
)
from shared.storage.retries import keep_retrying, retry_write
from shared.storage.service import Storage
from shared.storage.turns import OpenTurn, TurnWriter
from shared.storage.work_items import WorkItem, WorkItems

__all__ = [
    "MAX_FRESH_MEDIA",
    "Claim",
    "ContentHeaders",
    "Conversation",
    "ConversationList",
    "ConversationPage",
    "ConversationStore",
    "ConversationSummary",
    "FolderStore",
    "IdempotencyStore",
    "Lease",
    "LeasedRecord",
    "LeasedRecords",
    "Line",
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
    "OpenTurn",
    "Operation",
    "Origin",
    "OrphanCounts",
    "Orphans",
    "RangeNotSatisfiable",
    "Record",
    "RecordPage",
    "Records",
    "SharedKey",
    "Storage",
    "TurnWriter",
    "Versioned",
    "WorkItem",
    "WorkItems",
    "cache_control",
    "decode_cursor",
    "encode_cursor",
    "find_media",
    "is_id",
    "keep_retrying",
    "made_at",
    "new_id",
    "owner_key",
    "present_conversation",
    "retry_write",
]
