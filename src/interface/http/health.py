"""Whether the process lives, and whether what it stands on is there."""

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec

from llm_backend.application.health import CheckReadiness, Health
from llm_backend.interface.http.rest.parameters import Asked


class AliveOut(msgspec.Struct):
    status: str


class ReadyOut(msgspec.Struct):
    """`degraded`: everything works, but less well or only in this replica. `parts` names each thing."""

    status: str
    parts: dict[str, str]


@get("/healthz", tags=["Health"])
async def alive() -> AliveOut:
    """200 as long as the process answers at all."""
    return AliveOut(Health.OK.value)


@get(
    "/readyz",
    tags=["Health"],
    responses={503: ResponseSpec(ReadyOut, generate_examples=False, description="Something essential is away")},
)
async def ready(check_readiness: Asked[CheckReadiness]) -> Response[ReadyOut]:
    """Look at every part."""
    found = await check_readiness()
    parts = {name: health.value for name, health in found.parts.items()}
    status = 503 if found.health is Health.DOWN else 200
    return Response(ReadyOut(found.health.value, parts), status_code=status)
