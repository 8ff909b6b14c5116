"""The Small Fleet Podcast: a Pyramid app whose pages come from MongoDB. uWSGI loads `podcast:application`."""

from __future__ import annotations

import hashlib
import os
from email.utils import format_datetime
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
        request.db.episodes.find_one({}, {"_id": 1})
    except PyMongoError:
        return Response("MongoDB does not answer\n", status=503, content_type="text/plain")
    return Response("ok\n", content_type="text/plain")


def index(request: Request) -> dict:
    return {"items": list(request.db.episodes.find().sort("number", -1).limit(100))}


def item(request: Request) -> dict:
    found = request.db.episodes.find_one({"slug": request.matchdict["slug"]})
    if found is None:
        raise HTTPNotFound("There is no such page.")
    slug = request.session.get("last")
    last = request.db.episodes.find_one({"slug": slug}) if slug and slug != found["slug"] else None
    request.session["last"] = found["slug"]
    return {"item": found, "last": last}


def add_comment(request: Request) -> dict:
    """POST {"text": …} writes a comment on an episode; 400 for another body, 404 for another episode."""
    slug = request.matchdict["slug"]
    if request.db.episodes.find_one({"slug": slug}, {"_id": 1}) is None:
        raise HTTPNotFound(json_body={"error": "there is no such episode"})
    try:
        text = request.json_body["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str) or not 0 < len(text) <= 2000:
        raise HTTPBadRequest(json_body={"error": "text must be a string of 1 to 2000 characters"})
    written = request.db.comments.insert_one({"episode": slug, "text": text}).inserted_id
    request.response.status = 201
    return request.db.comments.find_one({"_id": written}, {"_id": 0})


def feed(request: Request) -> dict:
    request.response.content_type = "application/rss+xml"
    episodes = list(request.db.episodes.find().sort("number", -1).limit(100))
    site = request.registry.settings["site_url"] or request.application_url
    return {"items": [{**one, "date": format_datetime(one["published"])} for one in episodes], "site": site}


def main(settings: dict[str, str]):
    """The WSGI application. Settings: MONGODB_URL, SESSION_SECRET, SITE_URL (see README.md)."""
    config = Configurator(settings={"jinja2.trim_blocks": True, "site_url": settings.get("SITE_URL", "")})
    config.include("pyramid_jinja2")
    config.set_session_factory(
        SignedCookieSessionFactory(settings["SESSION_SECRET"], httponly=True, samesite="Lax")
    )
    db = database(settings["MONGODB_URL"])
    config.add_request_method(lambda request: db, "db", reify=True)
    config.add_static_view("static", "podcast:static", cache_max_age=31536000)
    version = hashlib.sha256(CSS.read_bytes()).hexdigest()[:12]
    config.add_cache_buster("podcast:static", QueryStringConstantCacheBuster(version))
    routes = {
        "health": ("/health", health, None),
        "index": ("/", index, "templates/index.jinja2"),
        "feed": ("/feed.rss", feed, "templates/feed.jinja2"),
        "item": ("/episodes/{slug}", item, "templates/item.jinja2"),
    }
    for name, (path, view, renderer) in routes.items():
        config.add_route(name, path)
        config.add_view(view, route_name=name, renderer=renderer)
    config.add_view(add_comment, route_name="item", renderer="json", request_method="POST")
    return config.make_wsgi_app()


application = main(dict(os.environ)) if "MONGODB_URL" in os.environ else None
