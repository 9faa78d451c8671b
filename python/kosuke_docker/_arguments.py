"""Arguments of the facade that the native core takes as plain values: each is checked, and named when it is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from kosuke_docker.errors import InvalidInputError
from kosuke_docker.models import Limits

_MAX_TAIL = 2**31
_MAX_SECONDS = 2**53
_LONGEST = 80


def waits_for_ready(wait: object) -> bool:
    """Whether a start waits for ``ready``, and not for ``running``."""
    if not isinstance(wait, str) or wait not in ("running", "ready"):
        _refuse("wait", "must be 'running' or 'ready'", wait)
    return wait == "ready"


def recreates(recreate: object) -> bool:
    """Whether a start replaces a container that runs with other variables."""
    if not isinstance(recreate, str) or recreate not in ("never", "on_drift"):
        _refuse("recreate", "must be 'never' or 'on_drift'", recreate)
    return recreate == "on_drift"


def seconds(timeout: object) -> float | None:
    """A timeout: a number of seconds from 0, None for ever."""
    if timeout is None:
        return None
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 <= timeout <= _MAX_SECONDS or math.isnan(timeout):  # type: ignore[operator, arg-type]
        _refuse("timeout", "must be a number of seconds from 0, or None", timeout)
    return float(timeout)  # type: ignore[arg-type]


def bounded_seconds(timeout: object) -> float:
    """A timeout that has an end."""
    value = seconds(timeout)
    if value is None:
        _refuse("timeout", "must be a number of seconds from 0", timeout)
    return value


def since(moment: object) -> float | None:
    """A moment in seconds since 1970; None: the newest edit."""
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        _refuse("since", "must be a datetime with a time zone, or None", moment)
    return moment.timestamp()


def routes(value: object) -> tuple[bool, list[str] | None]:
    """Whether the routes of the project's files are asked for, and the paths that are."""
    if value is None or value == "known":
        return value is not None, None
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(path, str) for path in value):
        _refuse("routes", "must be 'known', a list of paths, or None", value)
    return False, list(value)


def path(value: object) -> str:
    """A path of the preview."""
    if not isinstance(value, str):
        _refuse("path", "must be a path such as '/about'", value)
    return value


def flag(field: str, value: object) -> bool:
    """True or False: a word such as "no" would count as true."""
    if not isinstance(value, bool):
        _refuse(field, "must be True or False", value)
    return value


def tail(value: object) -> int | None:
    """A number of lines, None for all."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_TAIL:
        _refuse("tail", f"must be a whole number between 0 and {_MAX_TAIL - 1}, or None", value)
    return value


def handler(value: Any) -> Any:
    """What gets the steps of a pull, None for nothing."""
    if value is not None and not callable(value):
        raise InvalidInputError(
            f"on_progress: must be a function, not {type(value).__name__}", operation="validate", field="on_progress"
        )
    return value


def limits(value: object) -> tuple[Any, Any, Any] | None:
    """Memory, CPUs and pids of a start, None for those of the settings."""
    if value is None:
        return None
    if not isinstance(value, Limits):
        raise InvalidInputError(
            f"limits: must be a Limits, not {type(value).__name__}: Limits(memory='1g')",
            operation="validate",
            field="limits",
        )
    return (value.memory, value.cpus, value.pids)


def _refuse(field: str, rule: str, value: object) -> NoReturn:
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    raise InvalidInputError(f"{field}: {rule}, not {text}", operation="validate", field=field)
