"""The native cores of this process. Services with equal settings and engine share one; others have their own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import threading
import time
import weakref

from kosuke_docker import _core
from kosuke_docker._core import Core
from kosuke_docker.containers import Containers
from kosuke_docker.engine import ClientEngine
from kosuke_docker.settings import Settings

_EXIT_TIMEOUT = 1.0
"""Seconds that the process's end waits for tasks that are ending."""
_ANSWER_POLL = 0.005
"""Seconds between two looks whether all answers were taken."""
_ANSWER_TIMEOUT = 0.25
"""Seconds that the process's end waits for that."""


class Attachment:
    """A core and the view of its cache, shared by the services that use it."""

    def __init__(self, settings: Settings, adapter: ClientEngine | None) -> None:
        self.pid = os.getpid()
        self.adapter = adapter
        self.core = Core(settings.plain(), adapter)
        self.containers = Containers(self.core)
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        """The services that hold it."""
        _all.add(self)

    def forked(self) -> bool:
        """Whether it was made before a fork, in the parent process: there alone it works."""
        return self.pid != os.getpid()

    def usable(self) -> bool:
        """Whether it is open and was made in this process."""
        return not self.forked() and not self.core.closed


_shared: dict[tuple[str, str, int], Attachment] = {}
_all: weakref.WeakSet[Attachment] = weakref.WeakSet()


def shared(settings: Settings) -> Attachment:
    """The core that all services with these settings and this engine share."""
    key = (json.dumps(settings.plain(), sort_keys=True), _core.engine_address(), os.getpid())
    found = _shared.get(key)
    if found is None or not found.usable():
        found = _shared[key] = Attachment(settings, None)
    return found


async def close(attachment: Attachment, timeout: float) -> None:
    """Ends the tasks of a core, within so many seconds; services that share it get a new one at their next call.

    The runtime's threads end with the last core of the process.
    """
    for key, value in list(_shared.items()):
        if value is attachment:
            del _shared[key]
    await attachment.core.close(timeout)
    deadline = time.monotonic() + timeout
    while True:
        try:
            ending = _core.release_runtime()
        except BlockingIOError:  # Other calls wait for an answer: without the runtime they would for ever.
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_ANSWER_POLL)
        else:
            break
    if ending is not None:
        await _ended(ending, timeout)


async def _ended(ending: _core.Ending, timeout: float) -> None:
    """Waits on a thread that ends with the wait; an executor would keep its threads."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait() -> None:
        ending.wait(timeout)
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile: nobody waits.
            loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=wait, name="kosuke-docker-end", daemon=True)
    thread.start()
    await ended.wait()
    thread.join()  # It has nothing left to do.


if hasattr(os, "register_at_fork"):
    # Without a core no thread can be in the middle of building what `before_fork` builds.
    os.register_at_fork(before=lambda: _core.before_fork() if _all else None)


@atexit.register
def _at_exit() -> None:
    mine = [attachment for attachment in list(_all) if attachment.usable()]
    for attachment in mine:
        attachment.core.abandon()
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for attachment in mine:
        attachment.core.close_now(max(0.0, deadline - time.monotonic()))
    # Another thread's loop takes its answers through native frames. CPython 3.11 ends such a thread inside of them, and
    # the process with it (pthread_exit cannot unwind them). A closed loop takes no answers, so the wait is short.
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while mine and _core.pending_calls() > 0 and time.monotonic() < deadline:
        time.sleep(_ANSWER_POLL)
    _core.shutdown(_EXIT_TIMEOUT / 2)
