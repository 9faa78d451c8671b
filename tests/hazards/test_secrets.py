"""At DEBUG no value of an environment and no password reaches a log or an error, whatever the engine says."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fake_engine import Body, Drop, FakeEngine, Hang, How, Status
from kosuke_docker import KosukeDockerError

SECRET = "s3cr3t-value-0123456789"
CALLS = ["POST /containers/create", r"POST .*/start", r"GET /containers/[0-9a-f]{64}/json"]
"""Those that carry the environment, or come after it: before, the engine has nothing to repeat."""

ECHOES: list[How] = [
    Status(400, f"invalid environment variable: API_KEY={SECRET}"),
    Status(409, f"Conflict: {SECRET}"),
    Status(500, f"boom {SECRET}"),
    Status(404, f"No such image: {SECRET}"),
    Body(f'{{"Env": ["API_KEY={SECRET}"]}}'.encode()),
    Body(f"API_KEY={SECRET}".encode()),
    Drop(),
    Hang(),
]


@pytest.mark.parametrize("how", ECHOES, ids=lambda how: type(how).__name__ + str(getattr(how, "code", "")))
async def test_what_the_engine_repeats_is_not_repeated(
    fakes: Any, how: How, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    # All calls of the kind, or one; and with the undoing refused in the same words.
    cases = [(call, times, undo) for call in CALLS for times in (1, None) for undo in (False, True)]
    texts = await asyncio.gather(*(one_start(fakes(), how, *case) for case in cases))
    everything = "\n".join([*texts, caplog.text, "".join(capfd.readouterr())])
    assert "kosuke_docker" in caplog.text
    assert SECRET not in everything


async def one_start(fake: Any, how: How, call: str, times: int | None, undo: bool) -> str:
    """What a start with a secret says when a call of this kind fails."""
    fake.project(7)
    service = fake.service(engine_timeout=1.0)
    engine: FakeEngine = fake.engine
    engine.fail(call, how, times=times)
    if undo:
        engine.fail("DELETE /containers", how)
    variables = {"API_KEY": SECRET, "DATABASE_URL": f"postgresql://u:{SECRET}@db/x"}
    result: object
    try:
        result = await service.start_preview(7, variables)
    except KosukeDockerError as error:
        result = error
    engine.heal()
    texts = [repr(result), str(result), repr(getattr(result, "__dict__", ""))]
    texts += [repr(service.containers), repr(await service.list_previews())]
    await service.stop_preview(7)
    return "\n".join(texts)
