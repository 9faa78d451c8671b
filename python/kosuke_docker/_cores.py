"""The native cores of this process: one per settings, engine and process id, and those of their own."""

from __future__ import annotations

import atexit
import json
import os
import weakref

from kosuke_docker import _core
from kosuke_docker._core import Core
from kosuke_docker.containers import Containers
from kosuke_docker.engine import ClientEngine
from kosuke_docker.settings import Settings

_EXIT_PATIENCE = 1.0
"""Seconds that the process's end waits for tasks that are ending."""


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

    def usable(self) -> bool:
        """Not closed, and of this process: a core does not survive a fork."""
        return self.pid == os.getpid() and not self.core.closed


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
    """Ends the tasks of a core; instances that share it get a new one at their next call."""
    for key, value in list(_shared.items()):
        if value is attachment:
            del _shared[key]
    await attachment.core.close(patience)


@atexit.register
def _at_exit() -> None:
    mine = [attachment for attachment in list(_all) if attachment.usable()]
    for attachment in mine:
        attachment.core.close_now(_EXIT_PATIENCE)
    _core.shutdown(_EXIT_PATIENCE)
