"""Stored keys: made and changed while the app runs, in force on every instance within 30 seconds."""

from shared.keys.changes import AdminChanges
from shared.keys.snapshot import KeySnapshot
from shared.keys.stored import KeyStore, StoredKey

__all__ = ["AdminChanges", "KeySnapshot", "KeyStore", "StoredKey"]
