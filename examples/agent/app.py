"""A small agent: HTTP routes over ``DockerService``, and a page that shows one preview.

AGENT_TOKEN=... uvicorn app:app --workers 2 --timeout-graceful-shutdown 3

Whoever may call it may start containers, so every route but the page's and /health's wants the token. A page of another
site can send it nothing: the token is in a header, which a browser sends for no other site, and not in a cookie, which
it would also send to the previews on other ports of this host. Requests for other host names are refused, since a name
of somebody else's that leads here (DNS rebinding) would make a foreign page one of this site.
"""

import asyncio
import hmac
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from kosuke_docker import (
    DockerService,
    DockerUnavailableError,
    InvalidInputError,
    KosukeDockerError,
    OperationTimeoutError,
    Preview,
    PreviewStatus,
    ProjectFolderError,
    StartPreviewRequest,
    StopPreviewRequest,
)
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

PAGE = Path(__file__).with_name("page.html")
KEEP_ALIVE_SECONDS = 15
# No preview may show the page in a frame of its own, and click for whoever sees it.
PAGE_HEADERS = {"Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-store"}
# Not made here: each worker would have another one.
TOKEN = os.environ.get("AGENT_TOKEN", "")
HOSTS = os.environ.get("AGENT_HOSTS", "localhost,127.0.0.1").split(",")

SHORTEST_TOKEN = 16
if len(TOKEN) < SHORTEST_TOKEN:
    raise RuntimeError(
        f'AGENT_TOKEN must have at least {SHORTEST_TOKEN} characters: AGENT_TOKEN="$(openssl rand -hex 32)"'
    )

logger = logging.getLogger("agent")


def docker_service() -> DockerService:
    """One per request costs nothing: all share one core, and the state is in the engine."""
    return DockerService()


Service = Annotated[DockerService, Depends(docker_service)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Fetches the previews' image ahead, and ends the core's tasks with the worker. Previews stay."""
    async with DockerService() as service:
        try:
            await service.ensure_image()
        except KosukeDockerError as error:
            logger.warning("previews have no image yet: %s", error)
        yield


app = FastAPI(title="agent", lifespan=lifespan)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)


def has_token(authorization: Annotated[str, Header()] = "") -> None:
    """Refuses whoever does not send the token."""
    if not hmac.compare_digest(authorization.encode(), f"Bearer {TOKEN}".encode()):
        raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})


api = APIRouter(prefix="/api/preview", dependencies=[Depends(has_token)])

STATUS = {DockerUnavailableError: 503, OperationTimeoutError: 503, InvalidInputError: 422, ProjectFolderError: 404}


@app.exception_handler(KosukeDockerError)
async def failed(_: Request, error: KosukeDockerError) -> Response:
    """The answer to a request that failed: which step, and the engine's own words."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return Response(body_of(error), status_code=status, media_type="application/json")


def body_of(error: KosukeDockerError) -> str:
    """An error as JSON."""
    return json.dumps({"error": type(error).__name__, "detail": str(error), "operation": error.operation})


@app.middleware("http")
async def name_the_worker(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Adds a header that says which worker answered."""
    response = await call_next(request)
    response.headers["x-worker"] = str(os.getpid())
    return response


@api.post("/start")
async def start(body: StartPreviewRequest, service: Service) -> dict[str, str]:
    """Starts a preview, or finds it running."""
    return {"url": await service.start_preview(body.project_id, body.env_vars)}


@api.post("/stop")
async def stop(body: StopPreviewRequest, service: Service) -> dict[str, bool]:
    """Stops a preview; stopping nothing is fine."""
    await service.stop_preview(body.project_id)
    return {"stopped": True}


@api.post("/stop-all")
async def stop_all(service: Service) -> dict[str, bool]:
    """Stops every preview of this deployment."""
    await service.stop_all_previews()
    return {"stopped": True}


@api.get("/status/{project_id}")
async def status(project_id: int, service: Service) -> PreviewStatus:
    """The short answer."""
    return await service.get_preview_status(project_id)


Item = TypeVar("Item")


async def unless_silent(items: AsyncIterator[Item]) -> AsyncGenerator[Item | None, None]:
    """The items, and None after each ``KEEP_ALIVE_SECONDS`` without one."""
    coming: asyncio.Future[Item] | None = None
    try:
        while True:
            # Not `wait_for`: at its time-out it cancels, and an item could be lost.
            coming = coming or asyncio.ensure_future(anext(items))
            await asyncio.wait({coming}, timeout=KEEP_ALIVE_SECONDS)
            if not coming.done():
                yield None
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield item
    finally:
        if coming is not None:
            coming.cancel()


def message(event: str, data: str) -> str:
    """One server-sent event. JSON has no line breaks outside of its strings, and escapes those inside."""
    return f"event: {event}\ndata: {data}\n\n"


def stream(messages: AsyncIterator[str]) -> StreamingResponse:
    """A response that ends with the messages or when the client leaves. Proxies may not buffer it."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(messages, media_type="text/event-stream", headers=headers)


async def event_messages(service: DockerService, project_id: int | None) -> AsyncIterator[str]:
    """The previews as they are, then each change. It subscribes first, so that no change is missed in between."""
    try:
        async with service.events(project_id) as events:
            if project_id is None:
                previews = await service.list_previews()
            else:
                found = await service.get_preview(project_id)
                previews = [] if found is None else [found]
            yield message("snapshot", f"[{','.join(one.model_dump_json() for one in previews)}]")
            async with aclosing(unless_silent(events)) as items:
                async for event in items:
                    yield ":\n\n" if event is None else message(event.kind, event.model_dump_json())
    except KosukeDockerError as error:
        yield message("failed", body_of(error))


async def log_messages(service: DockerService, project_id: int) -> AsyncIterator[str]:
    """The last lines, then new ones. ``end`` tells a browser not to reconnect to a log that has ended."""
    try:
        async with service.logs(project_id) as lines, aclosing(unless_silent(lines)) as items:
            async for line in items:
                yield ":\n\n" if line is None else message("line", line.model_dump_json())
        yield message("end", "{}")
    except KosukeDockerError as error:
        yield message("failed", body_of(error))


# Before /api/preview/{project_id}, which would read "events" as an id.
@api.get("/events")
async def events(service: Service, project_id: int | None = None) -> StreamingResponse:
    """Server-sent events of every preview, or of one."""
    return stream(event_messages(service, project_id))


@api.get("/{project_id}/logs")
async def logs(project_id: int, service: Service) -> StreamingResponse:
    """A preview's output, as server-sent events."""
    return stream(log_messages(service, project_id))


@api.get("/{project_id}")
async def preview(project_id: int, service: Service) -> Preview | None:
    """Everything that is known, or null."""
    return await service.get_preview(project_id)


@app.get("/health")
async def health(service: Service) -> JSONResponse:
    """503 while Docker is away."""
    available = await service.is_docker_available()
    return JSONResponse({"docker": available}, status_code=200 if available else 503)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page: a preview beside its phase, errors and log. It holds no token."""
    return FileResponse(PAGE, headers=PAGE_HEADERS)


app.include_router(api)
