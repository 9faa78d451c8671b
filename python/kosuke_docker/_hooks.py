"""Runs the hooks that a subclass or a test replaced: on the caller's loop, within the call, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from kosuke_docker.errors import HookReentryError, OperationTimeoutError

WITHIN_THE_OPERATION = {
    "_get_random_port",
    "_get_project_environment",
    "_prepare_container_environment",
    "_ensure_project_database",
}
"""The hooks that run within an operation on the preview: every other operation on it waits for their end."""


class _Running:
    """One hook that runs. What it started may live on after it, and may wait for the preview then."""

    def __init__(self, core: object, project_id: int, name: str) -> None:
        self.core = core
        self.project_id = project_id
        self.name = name
        self.ended = False


_running: ContextVar[tuple[_Running, ...]] = ContextVar("kosuke_docker_hooks", default=())


@contextlib.contextmanager
def running(core: object, project_id: int | None, name: str) -> Iterator[None]:
    """Marks what is called in the block as called by this hook."""
    if project_id is None or name not in WITHIN_THE_OPERATION:
        yield
        return
    hook = _Running(core, project_id, name)
    token = _running.set((*_running.get(), hook))
    try:
        yield
    finally:
        hook.ended = True
        _running.reset(token)


def refuse_within(core: object, operation: str, *project_ids: int) -> None:
    """Raises where this call would wait for the hook that makes it.

    Args:
        core: The core of the service that is called.
        operation: The method's name.
        project_ids: The projects that it is about; none: all.

    Raises:
        HookReentryError: It would.
    """
    for hook in _running.get():
        if not hook.ended and hook.core is core and (not project_ids or hook.project_id in project_ids):
            raise HookReentryError(
                f"project {hook.project_id}: {hook.name} calls {operation}, which waits for the operation that runs "
                f"{hook.name}: call it after the hook has returned, or use another project",
                operation=operation,
                preview=hook.project_id,
                hook=hook.name,
            )


async def result(value: Any, name: str, project_id: int | None, seconds: float) -> Any:
    """What a hook returned, awaited where it has to be.

    Raises:
        OperationTimeoutError: It took longer than so many seconds, and was cancelled.
    """
    if not inspect.isawaitable(value):
        return value
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await value
    except TimeoutError:
        if not deadline.expired():
            raise
        about = "" if project_id is None else f"project {project_id}: "
        raise OperationTimeoutError(
            f"{about}{name} did not return within {seconds:g} s (preview_hook_timeout, PREVIEW_HOOK_TIMEOUT)",
            operation=name,
            preview=project_id,
        ) from None
