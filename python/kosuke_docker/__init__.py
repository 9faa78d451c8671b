"""Live previews of web apps in containers, for asyncio. See ``DockerService``."""

from kosuke_docker._core import __version__
from kosuke_docker.errors import (
    ContainerConflictError,
    ContainerStartError,
    DatabaseError,
    DockerUnavailableError,
    EngineError,
    HookError,
    ImageNotFoundError,
    InvalidInputError,
    KosukeDockerError,
    OperationTimeoutError,
    PortRangeExhaustedError,
    PreviewFailedError,
    ProjectFolderError,
    ServiceClosedError,
    SettingsError,
)
from kosuke_docker.models import (
    CompileError,
    ContainerInfo,
    Preview,
    PreviewStatus,
    PullProgress,
    StartPreviewRequest,
    StopPreviewRequest,
)
from kosuke_docker.service import DockerService, EnvironmentService, configure
from kosuke_docker.settings import Settings

__all__ = [
    "CompileError",
    "ContainerConflictError",
    "ContainerInfo",
    "ContainerStartError",
    "DatabaseError",
    "DockerService",
    "DockerUnavailableError",
    "EngineError",
    "EnvironmentService",
    "HookError",
    "ImageNotFoundError",
    "InvalidInputError",
    "KosukeDockerError",
    "OperationTimeoutError",
    "PortRangeExhaustedError",
    "Preview",
    "PreviewFailedError",
    "PreviewStatus",
    "ProjectFolderError",
    "PullProgress",
    "ServiceClosedError",
    "Settings",
    "SettingsError",
    "StartPreviewRequest",
    "StopPreviewRequest",
    "__version__",
    "configure",
]
