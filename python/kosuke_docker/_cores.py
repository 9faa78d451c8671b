"""The native cores of this process: one per settings, engine and process id, and those of their own."""

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

_EXIT_PATIENCE = 1.0
"""Seconds that the process's end waits for tasks that are ending."""
_ANSWER_POLL = 0.005
_ANSWER_PATIENCE = 0.25


class Attachment:
    """A core with its cache view, as facade objects hold it."""

    def __init__(self, settings: Settings, adapter: ClientEngine | None) -> None:
        self.pid = os.getpid()
        self.adapter = adapter
        self.core = Core(settings.plain(), adapter)
        self.containers = Containers(self.core)
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        """The facade objects that hold it."""
        _all.add(self)

    def forked(self) -> bool:
        """Of a process that this one was forked from: a core does not survive that."""
        return self.pid != os.getpid()

    def usable(self) -> bool:
        """Not closed, and of this process."""
        return not self.forked() and not self.core.closed


_shared: dict[tuple[str, str, int], Attachment] = {}
_all: weakref.WeakSet[Attachment] = weakref.WeakSet()


def shared(settings: Settings) -> Attachment:
    """The core that all instances with these settings and this engine share."""
    key = (json.dumps(settings.plain(), sort_keys=True), _core.engine_address(), os.getpid())
    found = _shared.get(key)
    if found is None or not found.usable():
        found = _shared[key] = Attachment(settings, None)
    return found


async def close(attachment: Attachment, patience: float) -> None:
    """Ends the tasks of a core; instances that share it get a new one at their next call.

    With the last core of the process, the runtime's threads end, too.
    """
    for key, value in list(_shared.items()):
        if value is attachment:
            del _shared[key]
    await attachment.core.close(patience)
    deadline = time.monotonic() + patience
    while True:
        try:
            ending = _core.release_runtime()
        except BlockingIOError:  # What others called is being answered: a runtime that ends would leave them waiting.
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_ANSWER_POLL)
        else:
            break
    if ending is not None:
        await _ended(ending, patience)


async def _ended(ending: _core.Ending, patience: float) -> None:
    """Waits off the loop, and leaves no thread: an executor would keep its own."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wait() -> None:
        ending.wait(patience)
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile: nobody waits.
            loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=wait, name="kosuke-docker-end", daemon=True)
    thread.start()
    await ended.wait()
    thread.join()  # It has nothing left to do.


if hasattr(os, "register_at_fork"):
    # Without a core there is no thread that could be building it.
    os.register_at_fork(before=lambda: _core.before_fork() if _all else None)


@atexit.register
def _at_exit() -> None:
    mine = [attachment for attachment in list(_all) if attachment.usable()]
    for attachment in mine:
        attachment.core.abandon()
    deadline = time.monotonic() + _EXIT_PATIENCE
    for attachment in mine:
        attachment.core.close_now(max(0.0, deadline - time.monotonic()))
    # A thread whose loop goes on takes in its answers through native frames: CPython 3.11 would end it within them, and
    # the process with it (pthread_exit cannot unwind them). A loop that is closed takes in nothing, so not for long.
    deadline = time.monotonic() + _ANSWER_PATIENCE
    while mine and _core.pending_calls() > 0 and time.monotonic() < deadline:
        time.sleep(_ANSWER_POLL)
    _core.shutdown(_EXIT_PATIENCE / 2)
