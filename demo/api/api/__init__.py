"""Small Fleet API: a Pyramid app whose pages come from MongoDB. uWSGI loads `api:application`."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.static import QueryStringConstantCacheBuster

CSS = Path(__file__).parent / "static" / "site.css"


def database(url: str):
    """The database that a mongodb:// URL names; it connects when it is first asked."""
    return MongoClient(url, serverSelectionTimeoutMS=5000, tz_aware=True).get_default_database()


def health(request: Request) -> Response:
    """200 when MongoDB answers, else 503."""
    try:
        request.db.courses.find_one({}, {"_id": 1})
    except PyMongoError:
        return Response("MongoDB does not answer\n", status=503, content_type="text/plain")
    return Response("ok\n", content_type="text/plain")


def plain(document: dict) -> dict:
    """A document as JSON can have it."""
    return {key: value for key, value in document.items() if key != "_id"}


def index(request: Request) -> dict:
    return {"items": list(request.db.courses.find().sort("number", 1).limit(100))}


def listing(request: Request) -> dict:
    return {"courses": [plain(one) for one in request.db.courses.find().sort("number", 1).limit(100)]}


def item(request: Request) -> dict:
    found = request.db.courses.find_one({"slug": request.matchdict["slug"]})
    if found is None:
        raise HTTPNotFound(json_body={"error": "there is no such course"})
    notes = request.db.notes.find({"course": found["slug"]}).sort("_id", -1).limit(20)
    return {"course": plain(found), "notes": [plain(note) for note in notes]}


def add_note(request: Request) -> dict:
    """POST {"text": …} writes a note on a course; 400 for another body, 404 for another course."""
    slug = request.matchdict["slug"]
    if request.db.courses.find_one({"slug": slug}, {"_id": 1}) is None:
        raise HTTPNotFound(json_body={"error": "there is no such course"})
    try:
        text = request.json_body["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str) or not 0 < len(text) <= 2000:
        raise HTTPBadRequest(json_body={"error": "text must be a string of 1 to 2000 characters"})
    note = {"course": slug, "text": text, "written": datetime.now(UTC).isoformat(timespec="seconds")}
    request.db.notes.insert_one(dict(note))
    request.response.status = 201
    return note


def main(settings: dict[str, str]):
    """The WSGI application. Settings: MONGODB_URL, SESSION_SECRET, SITE_URL (see README.md)."""
    config = Configurator(settings={"jinja2.trim_blocks": True, "site_url": settings.get("SITE_URL", "")})
    config.include("pyramid_jinja2")
    config.set_session_factory(
        SignedCookieSessionFactory(settings["SESSION_SECRET"], httponly=True, samesite="Lax")
    )
    db = database(settings["MONGODB_URL"])
    config.add_request_method(lambda request: db, "db", reify=True)
    config.add_static_view("static", "api:static", cache_max_age=31536000)
    version = hashlib.sha256(CSS.read_bytes()).hexdigest()[:12]
    config.add_cache_buster("api:static", QueryStringConstantCacheBuster(version))
    routes = {
        "health": ("/health", health, None),
        "index": ("/", index, "templates/index.jinja2"),
        "listing": ("/v1/courses", listing, "json"),
    }
    for name, (path, view, renderer) in routes.items():
        config.add_route(name, path)
        config.add_view(view, route_name=name, renderer=renderer)
    config.add_route("item", "/v1/courses/{slug}")
    config.add_view(item, route_name="item", renderer="json", request_method="GET")
    config.add_view(add_note, route_name="item", renderer="json", request_method="POST")
    return config.make_wsgi_app()


application = main(dict(os.environ)) if "MONGODB_URL" in os.environ else None
