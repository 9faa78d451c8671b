"""The models: the older service's four against a restatement of them, and the native structs against the models."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, get_args
from unittest.mock import MagicMock

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import settings as run_with
from hypothesis import strategies as st
from kosuke_docker import (
    ContainerInfo,
    Preview,
    PreviewStatus,
    Settings,
    StartPreviewRequest,
    StopPreviewRequest,
    _core,
    models,
)
from kosuke_docker.engine import ClientEngine
from pydantic import BaseModel, ValidationError


class Ticket:
    """The older service's models, under their own names."""

    class ContainerInfo(BaseModel):
        project_id: int
        container_id: str
        container_name: str
        port: int
        url: str
        compilation_complete: bool = False
        is_responding: bool = False

    class PreviewStatus(BaseModel):
        running: bool
        url: Optional[str] = None
        compilation_complete: bool
        is_responding: bool

    class StartPreviewRequest(BaseModel):
        project_id: int
        env_vars: Dict[str, str] = {}

    class StopPreviewRequest(BaseModel):
        project_id: int


PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (ContainerInfo, Ticket.ContainerInfo),
    (PreviewStatus, Ticket.PreviewStatus),
    (StartPreviewRequest, Ticket.StartPreviewRequest),
    (StopPreviewRequest, Ticket.StopPreviewRequest),
]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(["1", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
LIKELY = {
    "project_id": st.integers(),
    "container_id": st.text(),
    "container_name": st.text(),
    "port": st.integers(0, 65535),
    "url": st.none() | st.text(),
    "compilation_complete": st.booleans(),
    "is_responding": st.booleans(),
    "running": st.booleans(),
    "env_vars": st.dictionaries(st.text(), st.text()),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[type[BaseModel], type[BaseModel], dict[str, Any]]:
    """A model, its restatement, and input that is nearly right more often than not."""
    ours, theirs = draw(st.sampled_from(PAIRS))
    data: dict[str, Any] = {}
    for name in theirs.model_fields:
        kind = draw(st.sampled_from(["likely", "likely", "likely", "likely", "likely", "any", "missing"]))
        if kind != "missing":
            data[name] = draw(LIKELY[name] if kind == "likely" else ANYTHING)
    data.update(draw(st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(LIKELY)), ANYTHING, max_size=2)))
    return ours, theirs, data


def outcome(model: type[BaseModel], data: object, *, as_json: bool) -> tuple[str, object, object, object]:
    """All that can be told about validating this."""
    try:
        made = model.model_validate_json(json.dumps(data)) if as_json else model.model_validate(data)
    except ValidationError as error:
        return "refused", error.title, error.errors(include_url=False), error.json(include_url=False)
    return "taken", made.model_dump(), made.model_dump_json(), made.model_fields_set


@run_with(deadline=None)
@given(cases(), st.booleans())
@example((ContainerInfo, Ticket.ContainerInfo, {"project_id": "1", "port": 3.0}), False)
@example((StartPreviewRequest, Ticket.StartPreviewRequest, {"project_id": 1, "env_vars": {"A": 1}}), False)
def test_the_models_do_what_the_ticket_says(
    case: tuple[type[BaseModel], type[BaseModel], dict[str, Any]], as_json: bool
) -> None:
    ours, theirs, data = case
    assert outcome(ours, data, as_json=as_json) == outcome(theirs, data, as_json=as_json)


@run_with(deadline=None)
@given(st.sampled_from(PAIRS), ANYTHING)
def test_what_is_no_object_is_refused_alike(pair: tuple[type[BaseModel], type[BaseModel]], data: object) -> None:
    ours, theirs = pair
    assert outcome(ours, data, as_json=False) == outcome(theirs, data, as_json=False)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_the_schemas_are_the_tickets(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    for mode in ("validation", "serialization"):
        assert ours.model_json_schema(mode=mode) == theirs.model_json_schema(mode=mode)
    assert list(ours.model_fields) == list(theirs.model_fields)
    assert {name: field.annotation for name, field in ours.model_fields.items()} == {
        name: field.annotation for name, field in theirs.model_fields.items()
    }


def test_a_default_dict_is_not_shared() -> None:
    first = StartPreviewRequest(project_id=1)
    first.env_vars["A"] = "1"
    assert StartPreviewRequest(project_id=2).env_vars == {}


def test_the_default_list_of_a_preview_is_not_shared() -> None:
    values = {"project_id": 1, "phase": "ready", "running": True, "container_name": "x", "as_of": 0}
    first = Preview.model_validate(values)
    first.last_lines.append("x")
    assert Preview.model_validate(values).last_lines == []


def client_of(api: FastAPI) -> httpx.AsyncClient:
    # fastapi.testclient wants another package than httpx by now, and warns.
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test")


def app(start_request: type[BaseModel], status: type[BaseModel], info: type[BaseModel]) -> FastAPI:
    api = FastAPI()

    def start(body: Any) -> Any:
        return info(
            project_id=body.project_id, container_id="c", container_name="n", port=1, url=body.env_vars.get("URL", "u")
        )

    def read() -> Any:
        return {"running": True, "compilation_complete": False, "is_responding": False, "secret": "no"}

    start.__annotations__["body"] = start_request
    api.post("/start", response_model=info)(start)
    api.get("/status", response_model=status)(read)
    return api


async def test_fastapi_takes_and_gives_them() -> None:
    async with client_of(app(StartPreviewRequest, PreviewStatus, ContainerInfo)) as client:
        taken = await client.post("/start", json={"project_id": 7, "env_vars": {"URL": "http://x"}})
        assert taken.status_code == 200
        assert taken.json() == {
            "project_id": 7,
            "container_id": "c",
            "container_name": "n",
            "port": 1,
            "url": "http://x",
            "compilation_complete": False,
            "is_responding": False,
        }
        refused = await client.post("/start", json={"project_id": "x"})
        assert refused.status_code == 422
        assert [error["loc"] for error in refused.json()["detail"]] == [["body", "project_id"]]
        assert (await client.get("/status")).json() == {
            "running": True,
            "url": None,
            "compilation_complete": False,
            "is_responding": False,
        }


def test_the_openapi_document_stays_as_it_is() -> None:
    ours = app(StartPreviewRequest, PreviewStatus, ContainerInfo).openapi()
    theirs = app(Ticket.StartPreviewRequest, Ticket.PreviewStatus, Ticket.ContainerInfo).openapi()
    assert ours == theirs


async def test_a_preview_fits_fastapi_too() -> None:
    api = FastAPI()
    values = {"project_id": 1, "phase": "ready", "running": True, "container_name": "x", "as_of": 0}

    @api.get("/", response_model=Preview)
    def read() -> Any:
        return values

    async with client_of(api) as client:
        assert (await client.get("/")).json()["as_of"] == "1970-01-01T00:00:00Z"


PREVIEW_FIELDS = {
    "project_id",
    "phase",
    "running",
    "url",
    "port",
    "container_id",
    "container_name",
    "compilation_complete",
    "is_responding",
    "http_status",
    "errors",
    "browser_errors",
    "exit_code",
    "last_lines",
    "oom_count",
    "last_oom_at",
    "database",
    "database_name",
    "database_isolation",
    "database_detail",
    "network_isolation",
    "network_detail",
    "drift",
    "detail",
    "created_at",
    "started_at",
    "ready_at",
    "finished_at",
    "as_of",
}
INFO = {
    "project_id": 7,
    "container_id": "c",
    "container_name": "n",
    "port": 1,
    "url": "http://localhost:1",
    "compilation_complete": True,
    "is_responding": False,
}


def test_the_words_of_streams_are_the_native_ones() -> None:
    assert list(get_args(models.PreviewEvent.model_fields["kind"].annotation)) == _core.event_kinds()
    assert list(get_args(models.LogLine.model_fields["stream"].annotation)) == _core.log_streams()


def test_the_phases_are_the_native_ones() -> None:
    assert list(get_args(models.Phase)) == _core.phase_names()
    assert set(get_args(models.Phase)) == {
        "pulling",
        "creating",
        "starting",
        "compiling",
        "ready",
        "compile_error",
        "unresponsive",
        "paused",
        "oom_killed",
        "stopping",
        "exited",
        "engine_unreachable",
    }


def test_the_native_entries_have_the_models_fields(settings: Settings) -> None:
    core = _core.Core(settings.plain())
    core.put(INFO)
    entries = json.loads(core.containers())
    assert entries == [INFO]
    assert set(entries[0]) == set(ContainerInfo.model_fields)
    assert ContainerInfo.model_validate(entries[0], strict=True).model_dump() == INFO


async def test_the_native_previews_have_the_models_fields(settings: Settings) -> None:
    assert set(Preview.model_fields) == PREVIEW_FIELDS
    core = _core.Core(settings.plain(), ClientEngine(MagicMock()))
    core.put(INFO)
    told = core.get(7, "n")
    assert not isinstance(told, bytes), "a client has to be asked"
    values = json.loads(await told)
    assert values is not None
    assert set(values) == PREVIEW_FIELDS
    preview = Preview.model_validate(values)
    assert (preview.project_id, preview.container_id, preview.url) == (7, "c", "http://localhost:1")
    assert preview.as_of.tzinfo is not None
    nothing = core.get(8, "n")
    assert not isinstance(nothing, bytes)
    assert json.loads(await nothing) is None
