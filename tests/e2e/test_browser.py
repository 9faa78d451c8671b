"""What a person sees: a real Next.js app in a real browser, inside the page of the example agent."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import browser
import httpx
import nextjs
import pytest
import services

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = "cd /app && npm run dev -- -H 0.0.0.0"
PATIENCE = 60
VERSIONS = (None, *nextjs.OTHERS) if os.environ.get("KOSUKE_SOAK") else (None,)
"""The example's own; every one in `make soak`."""

AGENT = """
import sys
import uvicorn
sys.path.insert(0, {folder!r})
uvicorn.run("app:app", port={port}, access_log=False, log_level="warning")
"""


@pytest.fixture
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[browser.Browser]:
    async with browser.running(tmp_path_factory.mktemp("browser") / "profile") as made:
        yield made


@pytest.fixture
async def agent(world: Any, postgres: dict[str, Any], run_python: Callable[..., Any]) -> str:
    """The example agent's address, in a process of its own. By number: so the preview's frame is of another site."""
    port = services.free_port()
    script = AGENT.format(folder=str(ROOT / "examples" / "agent"), port=port)
    process = run_python(script, world.settings(**postgres, preview_command=COMMAND))
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        while True:
            assert process.poll() is None, process.stderr.read()
            try:
                if (await client.get("/health")).status_code == 200:
                    return address
            except httpx.TransportError:
                assert time.monotonic() < deadline


PHASE = "document.getElementById('phase').dataset.phase"
ERRORS = "[...document.querySelectorAll('#errors li')]"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_person_sees_the_page_its_error_and_the_mended_page(
    world: Any, agent: str, chromium: browser.Browser, project_id: int, version: str | None
) -> None:
    folder = nextjs.copy(world.folder / str(project_id), version)
    source = folder / "app" / "page.js"
    good = source.read_text()
    page = await chromium.visit(f"{agent}/?project_id={project_id}")
    await page.until("document.readyState === 'complete'")
    assert await page.evaluate(PHASE) == "none"

    await page.evaluate("document.querySelector('button[type=submit]').click()")
    await page.until(f"{PHASE} === 'ready'", seconds=120)
    app = await chromium.target("http://localhost:")
    await app.until(f"document.querySelector('h1').innerText === 'Project {project_id}'")
    assert "role " in await app.evaluate("document.getElementById('database').innerText")
    assert await page.evaluate(f"{ERRORS}.length") == 0
    await page.until("document.getElementById('lines').innerText.includes('Ready in')")

    # A change that compiles comes without a reload.
    await app.evaluate("window.marker = 'here since the beginning'")
    source.write_text(good.replace("<h1>Project", "<h1>Changed project"))
    await app.until("document.querySelector('h1').innerText.startsWith('Changed project')")
    assert await app.evaluate("window.marker") == "here since the beginning"

    # One that does not is told with its place.
    broken = good.replace("</h1>", "</h1")
    line = 1 + broken[: broken.index("</h1")].count("\n")
    source.write_text(broken)
    await page.until(f"{PHASE} === 'compile_error' && {ERRORS}.length > 0")
    service = world.service()
    preview = await service.get_preview(project_id)
    assert preview is not None
    assert preview.phase == "compile_error"
    [error] = preview.errors
    assert (error.file, error.kind) == ("app/page.js", "syntax"), preview.errors
    # The parser stops at the end of this line, or at the next token.
    assert error.line in (line, line + 1), error
    assert error.column is not None
    [shown] = await page.evaluate(f"{ERRORS}.map((item) => item.innerText)")
    assert f"app/page.js:{error.line}:{error.column}" in shown
    assert error.message in shown
    raw = await page.evaluate("document.querySelector('#errors details pre').textContent")
    assert raw == error.raw

    # And it goes when the page is mended, which shows itself, too.
    source.write_text(good.replace("<h1>Project", "<h1>Mended project"))
    await page.until(f"{PHASE} === 'ready' && {ERRORS}.length === 0")
    await app.until("document.querySelector('h1').innerText.startsWith('Mended project')")
    assert await app.evaluate("window.marker") == "here since the beginning"
    mended = await service.get_preview(project_id)
    assert mended is not None
    assert (mended.phase, mended.errors) == ("ready", [])

    await page.evaluate("document.getElementById('stop').click()")
    await page.until(f"{PHASE} === 'none'")
    assert await page.evaluate("document.getElementById('app').hasAttribute('src')") is False
    assert page.problems == []
