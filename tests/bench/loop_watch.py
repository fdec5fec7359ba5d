"""Watches an event loop from a thread: how long it was blocked, and by what."""

import asyncio
import sys
import threading
import traceback
from dataclasses import dataclass
from time import clock_gettime, perf_counter, pthread_getcpuclockid, sleep
from types import TracebackType
from typing import Self

BLOCKED_SECONDS = 0.05
_BEAT_SECONDS = 0.01
_MAX_FRAMES = 12


@dataclass(frozen=True, slots=True)
class Blocking:
    """A time in which the loop ran nothing else.

    Attributes:
        seconds: How long it was.
        cpu_seconds: What the thread computed in it; the rest it waited, perhaps for the processor.
        stack: What it was doing when the time was over, innermost last.
    """

    seconds: float
    cpu_seconds: float
    stack: tuple[str, ...]


class LoopWatch:
    """Finds what blocks the event loop that runs the block.

    A callback beats in the loop. While it does not, the thread of this watch looks at what the loop's
    thread is doing.

    Args:
        seconds: How long the loop may be blocked.

    Attributes:
        found: What blocked it for longer, in order.
    """

    def __init__(self, seconds: float = BLOCKED_SECONDS) -> None:
        self.found: list[Blocking] = []
        self._seconds = seconds
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._clock = pthread_getcpuclockid(self._loop_thread)
        self._beat()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        await asyncio.to_thread(self._thread.join)

    def longest(self, number: int) -> list[Blocking]:
        """Returns those that computed longest, which other load of the machine does not change."""
        return sorted(self.found, key=lambda each: each.cpu_seconds, reverse=True)[:number]

    def _beat(self) -> None:
        self._last = (perf_counter(), clock_gettime(self._clock))
        if not self._is_over:
            self._loop.call_later(_BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        while not self._is_over:
            sleep(_BEAT_SECONDS)
            began = self._last
            if perf_counter() - began[0] > self._seconds:
                self._follow(began)

    def _follow(self, began: tuple[float, float]) -> None:
        """Waits for the end of a blocking, and notes it with the last stack that was seen."""
        stack: tuple[str, ...] = ()
        seconds = cpu_seconds = 0.0
        while self._last is began and not self._is_over:
            seconds = perf_counter() - began[0]
            cpu_seconds = clock_gettime(self._clock) - began[1]
            stack = self._stack() or stack
            sleep(_BEAT_SECONDS)
        if stack:
            self.found.append(Blocking(seconds, cpu_seconds, stack))

    def _stack(self) -> tuple[str, ...]:
        frame = sys._current_frames().get(self._loop_thread)
        frames = traceback.extract_stack(frame)[-_MAX_FRAMES:]
        return tuple(f"{each.filename}:{each.lineno} {each.name}" for each in frames)
