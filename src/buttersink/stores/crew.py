"""A few threads that work through jobs in the background.

Not `concurrent.futures.ThreadPoolExecutor`: the end of the program waits for the threads of that,
and one may be stuck in the network when the user has pressed Ctrl-C.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Crew:
    """Threads that run what is submitted, begun in that order; with one thread also ended so.

    Args:
        size: Number of threads. They are started when there is something to do.
        name: For people who debug.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._dismissed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Dismiss the crew; wait for what is running, unless the program was interrupted."""
        self.dismiss(wait=kind is None or issubclass(kind, Exception))

    def submit(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `work` done, some time."""
        future: Future[_T] = Future()

        def job() -> None:
            if self._dismissed.is_set() or not future.set_running_or_notify_cancel():
                future.cancel()
                return
            try:
                result = work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(job)
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def dismiss(self, *, wait: bool) -> None:
        """Cancel what was not begun; wait for what is running if asked."""
        self._dismissed.set()
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # and what it was about, while there is nothing else to do
