"""The fence around a conversation: what happens when writers die, stall, or lose an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from pytest_mock import MockerFixture

from shared.conversations import AssistantLine, ConversationStore, OpenRun, RunWriter, UserLine
from shared.conversations.lines import HeartbeatLine, Line, NextPartLine
from shared.conversations.log import ConversationLog
from shared.conversations.log_writer import LogWriter
from shared.errors import Conflict, NotFound, StorageUnavailable
from shared.settings import load_settings
from shared.storage import FolderStore, MediaStore, ObjectMissing, ObjectStore, Operation, Storage
from shared.timing import Timing
from tests.conftest import MakeClient
from tests.waiting import until

OWNER = "alice"


def says(text: str) -> AssistantLine:
    return AssistantLine(content=text)


def id_of(run: OpenRun) -> str:
    assert run.conversation_id is not None
    return run.conversation_id


def content_of(line: Line) -> str:
    assert isinstance(line, UserLine | AssistantLine)
    return line.content


@pytest.fixture
async def storage(stored_environment: dict[str, str]) -> AsyncIterator[Storage]:
    storage = Storage(load_settings(stored_environment))
    yield storage
    await storage.aclose()


@pytest.fixture
def store(storage: Storage, stored_environment: dict[str, str]) -> ConversationStore:
    return ConversationStore(storage, MediaStore(storage, load_settings(stored_environment)))


@pytest.fixture
async def impatient(stored_environment: dict[str, str]) -> AsyncIterator[ConversationStore]:
    """Another instance on the same storage, for which every lease is over at once."""
    settings = load_settings(stored_environment)
    storage = Storage(settings, timing=Timing(lease=0, renewal=0.01))
    yield ConversationStore(storage, MediaStore(storage, settings))
    await storage.aclose()


async def read(store: ConversationStore, conversation_id: str) -> list[tuple[str, bool]]:
    page = await store.page(OWNER, conversation_id, 100)
    return [(each["content"], each["incomplete"]) for each in page["messages"]]


async def begin(
    store: ConversationStore, message: str, conversation_id: str | None = None
) -> OpenRun:
    return await store.begin_run(OWNER, conversation_id, message, Operation.begin())


def writer_of(run: OpenRun) -> RunWriter:
    assert run.writer is not None
    return run.writer


async def test_stalled_writer_is_taken_over_and_stops(
    store: ConversationStore, impatient: ConversationStore
) -> None:
    stalled = await begin(store, "one")
    with pytest.raises(Conflict):
        await begin(store, "two", stalled.conversation_id)
    second = await begin(impatient, "two", stalled.conversation_id)
    with pytest.raises(Conflict):
        await writer_of(stalled).write(says("too late"))
    with pytest.raises(Conflict):
        await writer_of(stalled).close(status="complete")
    await writer_of(second).close(says("in time"), status="complete")
    assert await read(store, id_of(stalled)) == [
        ("one", True),
        ("two", False),
        ("in time", False),
    ]


async def test_turn_under_way_is_not_shown_as_broken_off(store: ConversationStore) -> None:
    run = await begin(store, "one")
    assert await read(store, id_of(run)) == [("one", False)]
    await writer_of(run).close(status="complete")


async def test_writer_keeps_its_turn_alive(
    store: ConversationStore, impatient: ConversationStore
) -> None:
    run = await begin(impatient, "one")
    log = store._log(OWNER, id_of(run))
    await until(log.tail, lambda tail: isinstance(tail.newest[0].line, HeartbeatLine))
    await writer_of(run).close(says("answer"), status="complete")
    assert await read(store, id_of(run)) == [("one", False), ("answer", False)]


async def test_repeat_takes_its_own_turn_over_at_once(store: ConversationStore) -> None:
    operation = Operation.begin()
    died = await store.begin_run(OWNER, None, "one", operation)
    await writer_of(died).write(says("half"))
    again = Operation(operation.seed, operation.began_at, is_repeat=True)
    repeat = await store.begin_run(OWNER, None, "one", again)
    assert repeat.conversation_id == died.conversation_id
    with pytest.raises(Conflict):
        await writer_of(died).close(says("other half"), status="complete")
    await writer_of(repeat).close(says("whole"), status="complete")
    assert await read(store, id_of(repeat)) == [("one", False), ("whole", False)]
    third = await store.begin_run(OWNER, None, "one", again)
    assert third.writer is None
    assert [line.type for line in third.finished] == ["user", "assistant", "end"]


async def test_repeat_whose_first_run_stored_nothing_begins(store: ConversationStore) -> None:
    operation = Operation.begin()
    again = Operation(operation.seed, operation.began_at, is_repeat=True)
    run = await store.begin_run(OWNER, None, "one", again)
    await writer_of(run).close(says("answer"), status="complete")
    assert await read(store, id_of(run)) == [("one", False), ("answer", False)]


async def test_writer_of_a_deleted_conversation_stops(
    store: ConversationStore, impatient: ConversationStore
) -> None:
    run = await begin(store, "one")
    await impatient.delete(OWNER, id_of(run))
    with pytest.raises(Conflict):
        await writer_of(run).close(says("to nobody"), status="complete")
    with pytest.raises(NotFound):
        await store.page(OWNER, id_of(run), 100)


class Unreliable:
    """A store that does what it is told, and then says that it could not be reached."""

    def __init__(self, store: ObjectStore, failures: int) -> None:
        self._store = store
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, name: str, data: bytes, position: int) -> int:
        size = await self._store.append(name, data, position)
        if self._failures:
            self._failures -= 1
            raise StorageUnavailable("The answer was lost.")
        return size


async def test_append_whose_answer_is_lost_is_done_once(storage: Storage) -> None:
    state: Any = Unreliable(storage.state, 2)
    log = ConversationLog(state, OWNER, Operation.begin().id("conversation"))
    writer = LogWriter(log, None, storage)
    for number in range(4):
        await writer.append(UserLine(content=str(number)))
    async with aclosing(log.backwards(await log.tail())) as lines:
        assert [content_of(placed.line) async for placed in lines] == ["3", "2", "1", "0"]


async def test_append_that_fails_is_told(storage: Storage) -> None:
    class Unreachable(Unreliable):
        async def append(self, name: str, data: bytes, position: int) -> int:
            raise StorageUnavailable("It is away.")

    state: Any = Unreachable(storage.state, 0)
    writer = LogWriter(ConversationLog(state, OWNER, "0" * 44), None, storage)
    with pytest.raises(StorageUnavailable):
        await writer.append(UserLine(content=""))


async def test_log_that_was_made_but_never_written_is_no_conversation(
    store: ConversationStore, storage: Storage
) -> None:
    operation = Operation.begin()
    conversation_id = operation.id("conversation")
    _, state = await storage._open()
    log = ConversationLog(state, OWNER, conversation_id)
    if isinstance(state, FolderStore):
        state.path(log.name(1)).parent.mkdir(parents=True)
        state.path(log.name(1)).touch()
    else:
        blobs: Any = state
        await state.create("makes-the-container", b"")
        await blobs._container.blob(log.name(1)).create_append_blob()
    with pytest.raises(ObjectMissing):
        await log.first_line()
    assert await store.list(OWNER, 10, None) == {"conversations": [], "cursor": None}
    with pytest.raises(NotFound):
        await begin(store, "two", conversation_id)
    again = Operation(operation.seed, operation.began_at, is_repeat=True)
    run = await store.begin_run(OWNER, None, "one", again)
    await writer_of(run).close(status="complete")
    assert await read(store, conversation_id) == [("one", False)]


async def test_next_part_that_was_announced_but_not_begun_is_begun(storage: Storage) -> None:
    log = ConversationLog(storage.state, OWNER, Operation.begin().id("conversation"))
    await LogWriter(log, None, storage).append(UserLine(content="1"))
    writer = LogWriter(log, await log.tail(), storage)
    await writer._put([NextPartLine()])
    tail = await log.tail()
    assert (tail.end.part, tail.end.offset, tail.appends, tail.newest) == (2, 0, 0, ())
    await LogWriter(log, tail, storage).append(UserLine(content="2"))
    async with aclosing(log.backwards(await log.tail())) as lines:
        assert [content_of(placed.line) async for placed in lines] == ["2", "1"]


async def test_any_text_is_stored_as_it_is(store: ConversationStore) -> None:
    text = "\u2028 line\r\n\x00 and 😀"
    run = await begin(store, text)
    await writer_of(run).close(says(text * 1000), status="complete")
    assert await read(store, id_of(run)) == [(text, False), (text * 1000, False)]


async def test_longest_message_fits(store: ConversationStore) -> None:
    text = "😀" * 1_000_000
    run = await begin(store, text)
    await writer_of(run).close(status="complete")
    assert await read(store, id_of(run)) == [(text, False)]
    await writer_of(await begin(store, "next", run.conversation_id)).close(status="complete")


async def test_append_that_nobody_knows_of_is_found_by_the_next(storage: Storage) -> None:
    class Away(Unreliable):
        is_away = False

        async def append(self, name: str, data: bytes, position: int) -> int:
            size: int = await self._store.append(name, data, position)
            if self.is_away:
                raise StorageUnavailable("The answer was lost.")
            return size

        def open(self, name: str, start: int = 0, end: int | None = None) -> Any:
            if self.is_away:
                raise StorageUnavailable("It is away.")
            return self._store.open(name, start, end)

    state: Any = Away(storage.state, 0)
    log = ConversationLog(state, OWNER, Operation.begin().id("conversation"))
    writer = LogWriter(log, None, storage)
    await writer.append(UserLine(content="1"))
    state.is_away = True
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await writer.append(AssistantLine(content="2"))
    state.is_away = False
    await writer.append(UserLine(content="3"))
    async with aclosing(log.backwards(await log.tail())) as lines:
        assert [content_of(placed.line) async for placed in lines] == ["3", "2", "1"]


async def test_storage_that_hangs_does_not_hold_the_answer_back(
    make_client: MakeClient, environment: dict[str, str], mocker: MockerFixture
) -> None:
    goes_on = asyncio.Event()
    append = FolderStore.append

    async def hang(self: FolderStore, name: str, data: bytes, position: int) -> int:
        await goes_on.wait()
        return await append(self, name, data, position)

    mocker.patch.object(FolderStore, "append", hang)
    client = make_client(
        environment | {"REQUEST_DEADLINE_SECONDS": "0.5"}, own_timing=Timing(grace=0.1)
    )
    async with asyncio.timeout(60):
        response = await client.post("/chat", json={"message": "hello"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    goes_on.set()
