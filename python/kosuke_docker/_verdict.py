"""A verdict, from what the core and a browser of our own found."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from kosuke_docker.models import BrowserError, Preview, Verdict, VerdictCheck

if TYPE_CHECKING:
    from kosuke_docker.browser import Seen


def of(told: dict[str, Any], seen: Seen | str, preview: Preview | None, since: datetime | None) -> Verdict:
    """The verdict.

    Args:
        told: What the core found, as JSON.
        seen: What the browser saw, or why it saw nothing.
        preview: The preview after that: the browser may have brought errors to light.
        since: Browser errors count from here on; None: from the edit on.
    """
    verdict = Verdict.model_validate({**told, "ok": False})
    checks = {check.name: check for check in verdict.checks}
    if preview is not None and preview.running:
        known = {(error.file, error.line) for error in verdict.errors}
        verdict.errors += _new(preview, known, checks["compiles"])
        began = since or verdict.edited_at
        verdict.browser_errors = [error for error in preview.browser_errors if began is None or error.last_at >= began]
    if isinstance(seen, str):
        for name in ("hydrated", "visible"):
            verdict.checks.append(VerdictCheck(name=name, detail=seen))
    else:
        verdict.screenshot = seen.screenshot
        # A browser that shows a compile error says it once more.
        own = [] if checks["compiles"].ok is False else seen.errors
        verdict.browser_errors += [error for error in own if not _is_told(error, verdict.browser_errors)]
        verdict.checks.append(VerdictCheck(name="hydrated", ok=seen.hydrated, detail=seen.hydrated_detail))
        verdict.checks.append(_visible(seen))
        _complete(checks, seen)
    if verdict.browser_errors:
        first, count = verdict.browser_errors[0].message.split("\n", 1)[0], len(verdict.browser_errors)
        found = VerdictCheck(name="browser_errors", ok=False, detail=f"{count} since the edit, the first: {first}")
        verdict.checks[verdict.checks.index(checks["browser_errors"])] = found
    failed = any(check.ok is False for check in verdict.checks)
    verdict.ok = checks["answers"].ok is True and not failed
    return verdict


def _new(preview: Preview, known: set[tuple[str | None, int | None]], compiles: VerdictCheck) -> list[Any]:
    """The errors that came to light since; where the core knew that all compiles, those printed before do not count."""
    if compiles.ok is True:
        return []
    new = [error for error in preview.errors if (error.file, error.line) not in known]
    if new and compiles.ok is None:
        compiles.ok = False
        compiles.detail = f"{new[0].file}:{new[0].line}: {new[0].message}"
    return new


def _complete(checks: dict[Any, VerdictCheck], seen: Seen) -> None:
    """What a browser that loaded the page tells of what the core could not know."""
    if checks["compiles"].ok is False:
        return
    if checks["browser_errors"].ok is None and not seen.errors:
        checks["browser_errors"].ok = True
        checks["browser_errors"].detail = "none in a browser that opened the page"
    failed = any(error.kind == "module_load" for error in seen.errors)
    if checks["compiles"].ok is None and checks["answers"].ok is True and not failed:
        checks["compiles"].ok = True
        checks["compiles"].detail = "the page, and all modules that a browser asks for"


def _visible(seen: Seen) -> VerdictCheck:
    if seen.blank is None:
        return VerdictCheck(name="visible", detail="the screenshot cannot be read")
    detail = "the screenshot has one colour" if seen.blank else "the screenshot has more than one colour"
    return VerdictCheck(name="visible", ok=not seen.blank, detail=detail)


def _is_told(error: BrowserError, known: list[BrowserError]) -> bool:
    """Whether the dev server passed this on already, with file and line."""
    return any(error.message in other.message or other.message in error.message for other in known)
