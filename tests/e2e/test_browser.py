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

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = "cd /app && npm run dev -- -H 0.0.0.0"
PATIENCE = 60
TOKEN = "a-token-of-the-tests"
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
async def agent(
    world: Any, postgres: dict[str, Any], run_python: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The example agent's address, in a process of its own. By number: so the preview's frame is of another site."""
    monkeypatch.setenv("AGENT_TOKEN", TOKEN)
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


PAGE = """export default function Home() {
  return (
    <main>
      <h1>Hello from {process.env.PROJECT_ID}</h1>
    </main>
  );
}
"""
BROKEN_LINE = 5
"""Where the parser is when it finds that the heading does not end."""

PHASE = "document.getElementById('phase').dataset.phase"
ERRORS = "[...document.querySelectorAll('#errors li')]"
HEADING = "document.querySelector('h1').innerText"
HYDRATED = "Object.keys(document.querySelector('h1')).some((key) => key.startsWith('__react'))"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_person_sees_the_page_its_error_and_the_mended_page(
    world: Any, agent: str, chromium: browser.Browser, project_id: int, version: str | None
) -> None:
    source = nextjs.copy(world.folder / str(project_id), version) / "app" / "page.js"
    source.write_text(PAGE)
    page = await chromium.visit(f"{agent}/?project_id={project_id}#token={TOKEN}")
    await page.until(f"document.readyState === 'complete' && {PHASE} === 'none'")

    await page.evaluate("document.querySelector('button[type=submit]').click()")
    await page.until(f"{PHASE} === 'ready'", seconds=120)
    app = await chromium.target("http://localhost:")
    await app.until(f"{HEADING} === 'Hello from {project_id}' && {HYDRATED}")
    assert await page.evaluate(f"{ERRORS}.length") == 0
    await page.until("document.getElementById('lines').innerText.includes('Ready in')")

    # A change that compiles comes without a reload.
    await app.evaluate("window.marker = 'here since the beginning'")
    source.write_text(PAGE.replace("Hello", "Changed"))
    await app.until(f"{HEADING}.startsWith('Changed')")
    assert await app.evaluate("window.marker") == "here since the beginning"

    # One that does not is told with its place.
    source.write_text(PAGE.replace("</h1>", "</h1"))
    await page.until(f"{PHASE} === 'compile_error' && {ERRORS}.length > 0")
    preview = await world.service().get_preview(project_id)
    assert preview is not None
    assert preview.phase == "compile_error"
    [error] = preview.errors
    assert (error.file, error.line, error.column, error.kind) == ("app/page.js", BROKEN_LINE, 5, "syntax"), error
    [shown] = await page.until(f"{ERRORS}.map((item) => item.innerText)")
    assert f"app/page.js:{error.line}:{error.column}" in shown
    assert error.message in shown
    raw = await page.evaluate("document.querySelector('#errors details pre').textContent")
    assert "<h1>Hello from {process.env.PROJECT_ID}</h1" in raw

    # It goes when the page is mended, and the mended page shows itself in the document that was there all along.
    source.write_text(PAGE.replace("Hello", "Mended"))
    await page.until(f"{PHASE} === 'ready' && {ERRORS}.length === 0")
    await app.until(f"{HEADING}.startsWith('Mended')")
    assert await app.evaluate("window.marker") == "here since the beginning"
    mended = await world.service().get_preview(project_id)
    assert mended is not None
    assert (mended.phase, mended.errors) == ("ready", [])

    await page.evaluate("document.getElementById('stop').click()")
    await page.until(f"{PHASE} === 'none'")
    assert await page.evaluate("document.getElementById('app').hasAttribute('src')") is False
    assert page.problems == []
