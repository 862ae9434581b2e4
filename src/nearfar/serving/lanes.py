"""Work that requests share: while one batch is worked on, those that come wait, and go together as the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from .refusals import Refused

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Lane(Generic[Job, Answer]):
    """One thread that works on batches of what was asked, first come, first served.

    Args:
        name: for people.
        work: jobs to as many answers; an answer that is an exception is raised where its job was asked.
        most: jobs of a batch.
        waiting: jobs that may wait; more are refused with status 503.
        seen: told the size of each batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Sequence[Answer | Exception]],
        most: int,
        waiting: int,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.name, self._work, self._most, self._waiting, self._seen = name, work, most, waiting, seen
        self._jobs: deque[tuple[Job, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"nearfar-{name}")
        self._runner: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    async def ask(self, job: Job) -> Answer:
        """The answer to a job.

        Raises:
            Refused: too many jobs wait. Further what the work raises.
        """
        if len(self._jobs) >= self._waiting:
            raise Refused(503, "too many requests wait; try again later", retry=1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._jobs:
            batch = [self._jobs.popleft() for _ in range(min(self._most, len(self._jobs)))]
            batch = [(job, future) for job, future in batch if not future.done()]  # who asked may have gone
            if not batch:
                continue
            self._seen(len(batch))
            answers: Sequence[Answer | Exception]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._work, [job for job, _ in batch]
                )
            except Exception as error:
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def close(self) -> None:
        """Wait for the work that runs."""
        if self._runner is not None:
            with suppress(asyncio.CancelledError):
                await self._runner
        self._thread.shutdown()
