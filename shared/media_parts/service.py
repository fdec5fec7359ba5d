"""Turns the parts of messages into what models are sent, and keeps the files that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from shared.errors import InvalidRequest, NotFound, complaints_of
from shared.media_parts.files import Budget, LoadedFile
from shared.media_parts.inputs import FilePart, ImagePart, TextPart, read_part
from shared.media_parts.openai_parts import (
    PARALLEL_READS,
    Reference,
    replace_in_parts,
    replace_references,
)
from shared.media_parts.sources import FetchedFile, fetch, read_medium
from shared.media_parts.stored import StoredPart
from shared.outbound import Downloads
from shared.parallel import gather_limited
from shared.storage import MediaStore, Operation, keep_retrying

Message = dict[str, Any]

_OWN_TYPES = ("image", "file")


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """A part of a message that is about to be sent.

    Attributes:
        stored: The part as a conversation stores it.
        content: The part as the Chat Completions API takes it; before a file its media id, which tools
            take.
        fetched: The file that is not stored yet; None for texts and stored media.
    """

    stored: StoredPart
    content: Sequence[dict[str, Any]]
    fetched: FetchedFile | None = None


class MediaParts:
    """The files of messages.

    Args:
        media: The stored media.
        downloads: Fetches URLs that callers name.
        is_storing: Whether there is storage.
    """

    def __init__(self, media: MediaStore, downloads: Downloads, *, is_storing: bool) -> None:
        self._media = media
        self._downloads = downloads
        self._is_storing = is_storing

    async def prepare(
        self,
        principal: str,
        parts: Sequence[TextPart | ImagePart | FilePart],
        operation: Operation,
        field: str,
    ) -> Sequence[PreparedPart]:
        """Reads or fetches the files of a message; nothing is stored yet.

        Args:
            principal: The caller.
            parts: The parts.
            operation: Gives the ids of media that fetched files become.
            field: The field that holds the parts, for errors.

        Raises:
            NotFound: The caller has no such medium.
            InvalidRequest: A file cannot be fetched, or may not be part of a message.
            NotConfigured: A medium is named, and there is no storage.
        """
        budget = Budget()

        async def prepare(index: int, part: TextPart | ImagePart | FilePart) -> PreparedPart:
            if isinstance(part, TextPart):
                stored = StoredPart(type="text", text=part.text)
                return PreparedPart(stored, [{"type": "text", "text": part.text}])
            media_id = operation.id(f"part {index}")
            found, fetched = await self._load(
                principal, part, f"{field}.{index}", budget, media_id if operation.is_repeat else ""
            )
            kept_as = part.reference or (media_id if self._is_storing else None)
            stored = StoredPart(
                type=part.type,
                media_id=kept_as,
                name=found.name,
                content_type=found.content_type,
                size_bytes=len(found.data),
            )
            content = _with_id(kept_as, await found.as_chat_part())
            return PreparedPart(stored, content, fetched)

        return await gather_limited(
            PARALLEL_READS, (prepare(index, part) for index, part in enumerate(parts))
        )

    async def keep(self, principal: str, parts: Sequence[PreparedPart]) -> None:
        """Stores the fetched files of a message, so that later messages can be answered.

        Raises:
            StorageUnavailable: One is not stored.
        """
        for part in parts:
            fetched, media_id = part.fetched, part.stored.media_id
            if fetched is not None and media_id is not None:
                with keep_retrying():
                    await self._media.save(
                        principal, media_id, fetched.file.data, fetched.media_format, fetched.origin
                    )

    async def load(
        self, principal: str, messages: Sequence[Message], used_bytes: int = 0
    ) -> list[Message]:
        """Returns messages of a conversation with the stored files in place of references.

        The newest files come first: for those that there is no room for, and for those that have been
        deleted since, the model reads a text.

        Args:
            principal: The caller.
            messages: The messages; their content may be a list of `StoredPart`.
            used_bytes: Bytes of files that the model is sent besides.
        """
        budget = Budget()
        budget.takes(used_bytes)
        wanted: dict[str, StoredPart] = {}
        for message in reversed(messages):
            for part in _stored_parts(message):
                if part.media_id and part.media_id not in wanted and budget.takes(part.size_bytes):
                    wanted[part.media_id] = part
        contents = await gather_limited(
            PARALLEL_READS, (self._read(principal, part) for part in wanted.values())
        )
        loaded = dict(zip(wanted, contents, strict=True))
        return [_with_content(message, loaded) for message in messages]

    async def expand(
        self, principal: str, messages: Sequence[Mapping[str, Any]], field: str
    ) -> list[Message]:
        """Returns messages of the Chat Completions API with our parts and references replaced.

        Args:
            principal: The caller.
            messages: The messages. Their parts may be OpenAI's, with ``media://ID`` for a URL or a
                file, or ours.
            field: The field that holds the messages, for errors.

        Raises:
            NotFound: The caller has no such medium.
            InvalidRequest: A file cannot be fetched, or may not be part of a message.
        """
        budget = Budget()
        expanded = []
        for index, message in enumerate(messages):
            parts = message.get("content")
            if isinstance(parts, list):
                path = f"{field}.{index}.content"
                parts = await self._expand(principal, parts, path, budget)
                message = {**message, "content": parts}
            expanded.append({**message})
        return expanded

    async def replace_references(self, principal: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Returns those fields of a request of OpenAI's API that change, with stored media in them.

        Look for ``media://`` in the bytes of the body before: this goes through all of its parts.

        Args:
            principal: The caller.
            fields: Of the Chat Completions or of the Responses API; they may be anything.

        Raises:
            NotFound: The caller has no such medium.
            InvalidRequest: A medium may not be part of a message.
            NotConfigured: There is no storage.
        """
        budget = Budget()

        async def load(reference: Reference) -> LoadedFile:
            return await self._of_reference(principal, reference, budget)

        return await replace_references(fields, load)

    async def _expand(
        self, principal: str, parts: list[Any], path: str, budget: Budget
    ) -> list[Any]:
        async def load(reference: Reference) -> LoadedFile:
            return await self._of_reference(principal, reference, budget)

        async def expand(index: int, part: Any) -> Any:
            is_ours = isinstance(part, Mapping) and part.get("type") in _OWN_TYPES
            if not is_ours or "file" in part:
                return part
            given = _read_own_part(part, f"{path}.{index}")
            found, _ = await self._load(principal, given, f"{path}.{index}", budget)
            return await found.as_chat_part()

        expanded = await gather_limited(
            PARALLEL_READS, (expand(index, part) for index, part in enumerate(parts))
        )
        return await replace_in_parts(expanded, path, load)

    async def _load(
        self,
        principal: str,
        part: ImagePart | FilePart,
        path: str,
        budget: Budget,
        earlier_id: str = "",
    ) -> tuple[LoadedFile, FetchedFile | None]:
        is_image = isinstance(part, ImagePart)
        field = f"{path}.{part.source}"
        if part.reference is not None:
            found = await read_medium(
                self._media, principal, part.reference, field, budget, is_image=is_image
            )
            return found, None
        if earlier_id:
            # An earlier attempt may have stored it; the URL may answer something else by now.
            try:
                return (
                    await read_medium(
                        self._media, principal, earlier_id, field, budget, is_image=is_image
                    ),
                    None,
                )
            except NotFound:
                pass
        fetched = await fetch(self._downloads, part.url or "", field, budget, is_image=is_image)
        return fetched.file, fetched

    async def _of_reference(
        self, principal: str, reference: Reference, budget: Budget
    ) -> LoadedFile:
        return await read_medium(
            self._media,
            principal,
            reference.media_id,
            reference.field,
            budget,
            is_image=reference.is_image,
        )

    async def _read(self, principal: str, part: StoredPart) -> dict[str, Any] | None:
        try:
            record = await self._media.find(principal, part.media_id or "")
            data = await self._media.read(record)
        except NotFound:
            return None
        return await LoadedFile(part.name, record.content_type, data).as_chat_part()


def _stored_parts(message: Message) -> list[StoredPart]:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, StoredPart)]


def _with_content(message: Message, loaded: Mapping[str, dict[str, Any] | None]) -> Message:
    parts = _stored_parts(message)
    if not parts:
        return message
    contents = [each for part in parts for each in _content(part, loaded)]
    return {**message, "content": contents}


def _with_id(media_id: str | None, part: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a file's part after its media id, without which a model could not name it to tools."""
    return [part] if media_id is None else [_text(f"[media_id: {media_id}]"), part]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _content(part: StoredPart, loaded: Mapping[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    if part.text is not None:
        return [_text(part.text)]
    if part.media_id is not None and part.media_id in loaded:
        if found := loaded[part.media_id]:
            return _with_id(part.media_id, found)
        return [_text(f"[The {part.label} that was here has been deleted.]")]
    left_out = f"[The {part.label} that was here is left out: the files are too large together.]"
    return [_text(left_out)]


def _read_own_part(part: Mapping[str, Any], path: str) -> ImagePart | FilePart:
    try:
        found = read_part(dict(part))
    except ValidationError as error:
        [first, *_] = complaints_of(error)
        field = ".".join([path, *map(str, first["loc"])])
        raise InvalidRequest.for_field(field, first["msg"]) from error
    except PydanticCustomError as error:
        raise InvalidRequest.for_field(path, error.message()) from error
    if isinstance(found, TextPart):
        raise AssertionError("unreachable: texts are OpenAI's own parts")
    return found
