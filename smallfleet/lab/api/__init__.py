"""The lab's API: DigitalOcean's API v2 on loopback, driving a lab's machines, network and DNS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Response

from smallfleet.lab.api import (
    account,
    actions,
    domains,
    droplet_actions,
    droplets,
    errors,
    firewalls,
    images,
    keys,
    load_balancers,
    projects,
    reserved_ips,
    tags,
    vpcs,
)
from smallfleet.lab.api.cloud import Cloud, Here
from smallfleet.lab.api.faults import Fault
from smallfleet.lab.api.gate import Gate
from smallfleet.lab.api.store import Store
from smallfleet.lab.parts import Parts

RATE_LIMIT = 5000  # requests an hour, as DigitalOcean's


def create_app(parts: Parts, token: str, state_file: Path, rate_limit: int = RATE_LIMIT) -> FastAPI:
    """The API at /v2/ for one account, whose bearer token is `token`.

    State is kept in `state_file` (0600). When the server starts, droplets that were on are started and
    firewalls, DNS and reserved IPs are pushed; when it stops, actions under way are waited for.
    """
    cloud = Cloud(parts, Store(state_file))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(cloud.resume)
        yield
        await to_thread.run_sync(cloud.close)

    app = FastAPI(
        title="smallfleet lab",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        strict_content_type=False,
    )
    app.state.cloud = cloud
    errors.install(app)
    v2 = APIRouter(prefix="/v2")
    # keys before account, droplet_actions before droplets: the first route that fits answers.
    modules = (
        keys,
        account,
        vpcs,
        droplet_actions,
        droplets,
        actions,
        images,
        tags,
        firewalls,
        domains,
        load_balancers,
        projects,
    )
    for module in modules:
        v2.include_router(module.router)
    for router in reserved_ips.routers:
        v2.include_router(router)
    app.include_router(v2)
    app.include_router(_lab)
    app.add_middleware(Gate, token=token, faults=cloud.faults, limit=rate_limit)
    return app


_lab = APIRouter(prefix="/lab")


@_lab.get("/faults")
def list_faults(cloud: Here) -> dict[str, list[Fault]]:
    return {"faults": cloud.faults.all()}


@_lab.post("/faults", status_code=204)
def add_fault(cloud: Here, fault: Fault) -> Response:
    cloud.faults.add(fault)
    return Response(status_code=204)


@_lab.delete("/faults", status_code=204)
def clear_faults(cloud: Here) -> Response:
    cloud.faults.clear()
    return Response(status_code=204)


__all__ = ["create_app"]
