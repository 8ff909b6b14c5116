"""Errors in DigitalOcean's form: `{"id", "message", "request_id"}` and the status that goes with it."""

from __future__ import annotations

import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from smallfleet.errors import FleetError

log = logging.getLogger(__name__)

IDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    422: "unprocessable_entity",
    429: "too_many_requests",
    500: "server_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}
MESSAGES = {
    401: "Unable to authenticate you",
    404: "The resource you were accessing could not be found.",
    429: "API rate limit exceeded.",
    500: "Unexpected server-side error",
    503: "Service unavailable",
}


class ApiError(Exception):
    """An answer other than success; `message` is for whoever called."""

    def __init__(self, status: int, message: str | None = None) -> None:
        self.status = status
        self.message = message or MESSAGES.get(status) or IDS.get(status, "error").replace("_", " ")
        super().__init__(self.message)


def not_found() -> ApiError:
    return ApiError(404)


def unprocessable(message: str) -> ApiError:
    return ApiError(422, message)


def answer(status: int, message: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """The error as a response."""
    error = ApiError(status, message)
    body = {"id": IDS.get(status, "error"), "message": error.message, "request_id": str(uuid.uuid4())}
    return JSONResponse(body, status, headers)


def install(app: FastAPI) -> None:
    """Make `app` give every error in this form."""

    @app.exception_handler(ApiError)
    def api_error(request: Request, error: ApiError) -> JSONResponse:
        return answer(error.status, error.message)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, None if error.status_code == 404 else str(error.detail))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return answer(400, "The request body is not valid JSON.")
        place = ".".join(str(part) for part in first["loc"][1:])
        return answer(422, f"{place}: {first['msg']}" if place else first["msg"])

    @app.exception_handler(FleetError)
    def part_failed(request: Request, error: FleetError) -> JSONResponse:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(500, str(error))

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        return answer(500)
