"""The loop of a coding agent, without the agent: edit, verify, mend.

    PROJECTS_DIR=/projects python examples/agent_loop.py 7 app/page.js

It breaks a heading in a file of project 7, asks how that went, and puts the file back. With the extra ``[browser]``
each verdict has a picture, which is written to the working directory. Settings come from the environment.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kosuke_docker import DockerService, Verdict

Edit = Callable[[str], str]


async def edit(service: DockerService, project_id: int, file: Path, change: Edit) -> Verdict:
    """Makes one edit and tells how it went."""
    began = time.monotonic()
    file.write_text(change(file.read_text()))
    verdict = await service.verify(project_id)
    print(f"{'well' if verdict.ok else 'not well'}, after {time.monotonic() - began:.1f} s")
    for check in verdict.checks:
        print(f"  {check.name}: {check.ok} ({check.detail})")
    return verdict


async def loop(service: DockerService, project_id: int, file: Path) -> list[Verdict]:
    """Edits until it is well again. An agent would ask its model for the next edit, and show it the verdict."""
    good = file.read_text()
    edits: list[Edit] = [lambda text: text.replace("</h1>", "</h1", 1), lambda _: good]
    verdicts = []
    try:
        for change in edits:
            verdict = await edit(service, project_id, file, change)
            verdicts.append(verdict)
            for error in verdict.errors:
                print(f"  {error.file}:{error.line}: {error.message}")
            if verdict.ok:
                break
    finally:
        file.write_text(good)
    return verdicts


async def main() -> None:
    """Starts the preview, loops, and leaves it running."""
    project_id, name = int(sys.argv[1]), sys.argv[2]
    async with DockerService() as service:
        print(await service.start_preview(project_id, wait="ready"))
        file = Path(str(service.settings.projects_dir)) / str(project_id) / name
        for number, verdict in enumerate(await loop(service, project_id, file)):
            if verdict.screenshot is not None:
                Path(f"verdict-{number}.png").write_bytes(verdict.screenshot)


if __name__ == "__main__":
    asyncio.run(main())
