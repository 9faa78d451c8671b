"""A small agent: the preview routes over ``DockerService``, in the style that agents use.

uvicorn app:app --workers 2
"""

import logging
import os
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
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

logger = logging.getLogger("agent")


def docker_service() -> DockerService:
    """One per request costs nothing: all share one core, and the truth is in the engine."""
    return DockerService()


Service = Annotated[DockerService, Depends(docker_service)]


@asynccontextmanager
async def lifespan(_: FastAPI):
    """Fetches the previews' image ahead, and ends the core's tasks with the worker. Previews stay."""
    async with DockerService() as service:
        try:
            await service.ensure_image()
        except KosukeDockerError as error:
            logger.warning("previews have no image yet: %s", error)
        yield


app = FastAPI(title="agent", lifespan=lifespan)

STATUS = {DockerUnavailableError: 503, OperationTimeoutError: 503, InvalidInputError: 422, ProjectFolderError: 404}


@app.exception_handler(KosukeDockerError)
async def failed(_: Request, error: KosukeDockerError) -> JSONResponse:
    """Every error says which step failed, with the engine's own words."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    body = {"error": type(error).__name__, "detail": str(error), "operation": error.operation}
    return JSONResponse(body, status_code=status)


@app.middleware("http")
async def name_the_worker(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Which of the workers answered."""
    response = await call_next(request)
    response.headers["x-worker"] = str(os.getpid())
    return response


@app.post("/api/preview/start")
async def start(body: StartPreviewRequest, service: Service) -> dict[str, str]:
    """Starts a preview, or finds it running."""
    return {"url": await service.start_preview(body.project_id, body.env_vars)}


@app.post("/api/preview/stop")
async def stop(body: StopPreviewRequest, service: Service) -> dict[str, bool]:
    """Stops a preview; stopping nothing is fine."""
    await service.stop_preview(body.project_id)
    return {"stopped": True}


@app.post("/api/preview/stop-all")
async def stop_all(service: Service) -> dict[str, bool]:
    """Stops every preview of this deployment."""
    await service.stop_all_previews()
    return {"stopped": True}


@app.get("/api/preview/status/{project_id}")
async def status(project_id: int, service: Service) -> PreviewStatus:
    """The short answer."""
    return await service.get_preview_status(project_id)


@app.get("/api/preview/{project_id}")
async def preview(project_id: int, service: Service) -> Preview | None:
    """All that is known."""
    return await service.get_preview(project_id)


@app.get("/health")
async def health(service: Service) -> JSONResponse:
    """503 while Docker is away."""
    available = await service.is_docker_available()
    return JSONResponse({"docker": available}, status_code=200 if available else 503)
