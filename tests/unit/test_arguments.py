"""Arguments that cannot be used: the argument is named, and what it may be, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kosuke_docker import DockerService, InvalidInputError, KosukeDockerError, Limits, Settings

CALLS: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "wait='Ready'": (lambda s: s.start_preview(7, wait="Ready"), ["wait", "'running'", "'ready'", "'Ready'"]),
    "wait=True": (lambda s: s.start_preview(7, wait=True), ["wait", "'running'", "'ready'"]),
    "wait=None": (lambda s: s.start_preview(7, wait=None), ["wait", "'running'", "'ready'"]),
    "timeout='5'": (lambda s: s.start_preview(7, wait="ready", timeout="5"), ["timeout", "seconds", "'5'"]),
    "timeout=nan": (lambda s: s.start_preview(7, timeout=float("nan")), ["timeout", "seconds"]),
    "timeout=True": (lambda s: s.wait_until_ready(7, True), ["timeout", "seconds"]),
    "timeout=-1": (lambda s: s.wait_until_ready(7, -1), ["timeout", "seconds", "-1"]),
    "timeout=1e400": (lambda s: s.wait_until_ready(7, 10**400), ["timeout", "seconds"]),
    "timeout='soon'": (lambda s: s.wait_until_ready(7, "soon"), ["timeout", "seconds", "'soon'"]),
    "fail='no'": (
        lambda s: s.start_preview(7, wait="ready", fail_on_compile_error="no"),
        ["fail_on_compile_error", "True or False"],
    ),
    "fail=0": (lambda s: s.wait_until_ready(7, fail_on_compile_error=0), ["fail_on_compile_error", "True or False"]),
    "limits={}": (lambda s: s.start_preview(7, limits={"memory": "1g"}), ["limits", "Limits", "dict"]),
    "limits.memory": (lambda s: s.start_preview(7, limits=Limits(memory="lots")), ["limits.memory", "6m"]),
    "limits.pids": (lambda s: s.start_preview(7, limits=Limits(pids=-1)), ["limits.pids", "4194304"]),
    "limits.cpus": (lambda s: s.start_preview(7, limits=Limits(cpus=1e9)), ["limits.cpus", "0.01"]),
    "env_vars=[]": (lambda s: s.start_preview(7, ["A=1"]), ["env_vars", "mapping", "list"]),
    "on_progress=1": (lambda s: s.start_preview(7, on_progress=1), ["on_progress", "function", "int"]),
    "image progress": (lambda s: s.ensure_image("x"), ["on_progress", "function", "str"]),
    "remove='no'": (lambda s: s.stop_preview(7, remove_database="no"), ["remove_database", "True or False", "'no'"]),
    "orphans=1": (lambda s: s.sweep(remove_orphan_databases=1), ["remove_orphan_databases", "True or False"]),
    "project='7'": (lambda s: s.start_preview("7"), ["project_id", "int", "str"]),
    "tail='5'": (lambda s: s.logs(7, tail="5"), ["tail", "0", "'5'"]),
    "tail=-1": (lambda s: s.logs(7, tail=-1), ["tail", "0", "-1"]),
    "tail=2.5": (lambda s: s.logs(7, tail=2.5), ["tail", "0", "2.5"]),
    "follow='x'": (lambda s: s.logs(7, follow="x"), ["follow", "True or False"]),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_argument_is_named(name: str, settings: Settings) -> None:
    call, words = CALLS[name]
    service = DockerService(settings)

    async def use() -> None:
        await call(service)

    with pytest.raises(InvalidInputError) as caught:
        await use()
    text = str(caught.value)
    assert text.startswith(f"{caught.value.field}: ")
    assert caught.value.field == words[0]
    for word in words:
        assert word in text, text


async def test_what_is_right_goes_on_to_the_engine(settings: Settings) -> None:
    service = DockerService(settings)
    for call in (
        service.start_preview(7, wait="running", timeout=None),
        service.start_preview(7, wait="ready", timeout=0),
        service.start_preview(7, wait="ready", timeout=2.5, limits=Limits(memory="1g", cpus=0, pids=1)),
    ):
        with pytest.raises(KosukeDockerError) as caught:
            await call
        assert not isinstance(caught.value, InvalidInputError)
