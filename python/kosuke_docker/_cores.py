"""The native cores of this process. Services of one class with equal settings and engine share one.

Classes that replace no hook count as one class. A service with a client, or with a hook that was replaced on the
object, has a core of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import json
import os
import secrets
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
        return self.pid == os.getpid() and not self.core.closed


_Key = tuple[bytes, str, int]
_shared: weakref.WeakKeyDictionary[type, dict[_Key, Attachment]] = weakref.WeakKeyDictionary()
"""By the class whose hooks are used; a class that is gone takes its cores with it."""
_all: weakref.WeakSet[Attachment] = weakref.WeakSet()
_KEY = secrets.token_bytes(32)
"""Hides the settings in the keys: passwords are among them."""
_lock = threading.Lock()
"""Held while a core is found or made: two threads would make two."""


def shared(settings: Settings, of: type | None) -> Attachment:
    """The core that all services of this class with these settings and this engine share; None: without hooks."""
    plain = json.dumps(settings.plain(), sort_keys=True).encode()
    key = (hashlib.blake2b(plain, key=_KEY).digest(), _core.engine_address(), os.getpid())
    with _lock:
        cores = _shared.setdefault(of or Attachment, {})
        found = cores.get(key)
        if found is None or not found.usable():
            found = cores[key] = Attachment(settings, None)
    return found


def _forget(attachment: Attachment) -> None:
    """No service finds it any more."""
    with _lock:
        for cores in list(_shared.values()):
            for key in [key for key, value in cores.items() if value is attachment]:
                del cores[key]


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()


async def close(attachment: Attachment, timeout: float) -> None:
    """Ends the tasks of a core, within so many seconds; services that share it get a new one at their next call.

    The runtime's threads end with the last core of the process.
    """
    _forget(attachment)
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
    os.register_at_fork(before=lambda: _core.before_fork() if _all else None, after_in_child=_after_fork)


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
