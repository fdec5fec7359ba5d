"""Azure Blob Storage; importing this package imports the Azure SDK and aiohttp."""

from shared.storage.blob.account import BLOCK_BYTES, BlobAccount
from shared.storage.blob.store import BlobStore

__all__ = ["BLOCK_BYTES", "BlobAccount", "BlobStore"]
