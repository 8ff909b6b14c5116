"""What the exchange of NGINX's configuration asks, and what it makes of the answers; without NGINX."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from smallfleet.model.roles import AppRole
from smallfleet.operations import nginx
from smallfleet.programs.nginx_swap import rehearsal, swapping
from smallfleet.programs.nginx_swap.asking import Answer, Question, flaw, one_file, questions, worse
from tests.unit.certificates import certificate

HEALTH = Question("https", "a.example.com", "/health", exact=True)
PAGE = Question("https", "a.example.com", "/")


@pytest.mark.parametrize(
    ("question", "before", "after", "broken"),
    [
        (HEALTH, Answer(200), Answer(200), False),
        (HEALTH, Answer(200), Answer(502), True),
        (HEALTH, Answer(200), Answer(301), True),
        (HEALTH, Answer(200), Answer(None, "Connection refused"), True),
        (HEALTH, Answer(502), Answer(502), False),  # it was not well before
        (HEALTH, Answer(503), Answer(None, "timed out"), False),
        (PAGE, Answer(200), Answer(301), False),
        (PAGE, Answer(301), Answer(404), True),
        (PAGE, Answer(200), Answer(429), False),  # NGINX limits how often it is asked
        (PAGE, Answer(200), Answer(200, certificate="has expired"), True),
        (PAGE, Answer(200, certificate="has expired"), Answer(200, certificate="has expired"), False),
    ],
)
def test_only_what_was_well_before_can_be_worse(
    question: Question, before: Answer, after: Answer, broken: bool
) -> None:
    found = worse({question: before}, {question: after})
    assert bool(found) is broken
    assert all(str(question) in line for line in found)


def test_every_vhost_is_asked_for_all_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    (tmp_path / "css/.hidden.css").write_text("")
    (tmp_path / "css/main.css").write_text("")
    (tmp_path / "css/a name.css").write_text("")
    site = {
        "domain": "a.example.com",
        "aliases": ["www.a.example.com"],
        "paths": ["/feed.rss"],
        "health": "/health",
        "directories": {"/static/": str(tmp_path), "/files/": str(tmp_path / "nowhere")},
    }
    assert [str(question) for question in questions([site])] == [
        "http://a.example.com/",
        "https://a.example.com/",
        "https://www.a.example.com/",
        "https://a.example.com/feed.rss",
        "https://a.example.com/health",
        "https://a.example.com/static/css/main.css",
    ]
    assert one_file(tmp_path / "nowhere") is None


def test_a_site_of_files_alone_is_asked_for_a_file() -> None:
    app = AppRole.model_validate(
        {
            "name": "media",
            "kind": "app",
            "on": ["nginx"],
            "domain": "media.example.com",
            "files": {"directory": "/srv/media/files"},
        }
    )
    assert nginx.site(app) == {
        "domain": "media.example.com",
        "aliases": [],
        "paths": [],
        "health": None,
        "directories": {"/files/": "/srv/media/files"},
    }


@pytest.mark.parametrize(
    ("subject", "issuer", "days", "what"),
    [
        ("a.example.com", "some authority", 1, ""),
        ("a.example.com", "a.example.com", 1, "is signed by nobody"),
        ("placeholder.invalid", "placeholder.invalid", 1, "is for another name"),
        ("a.example.com", "some authority", -1, "has expired"),
    ],
)
def test_a_certificate_that_no_browser_takes(subject: str, issuer: str, days: int, what: str) -> None:
    made = certificate(subject, issuer, days)
    assert flaw(made.public_bytes(serialization.Encoding.DER), "a.example.com") == what


def test_what_is_exchanged_goes_aside_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in {"NGINX": ".", "CANDIDATE": "candidate", "PREVIOUS": "previous"}.items():
        monkeypatch.setattr(swapping, name, tmp_path / path)

    def candidate(text: str) -> None:
        (tmp_path / "candidate/sites").mkdir(parents=True)
        (tmp_path / "candidate/sites/a.conf").write_text(text)
        (tmp_path / "candidate/nginx.conf").write_text(text)
        swapping.put_in_place()

    (tmp_path / "nginx.conf").write_text("package's own")
    candidate("first")
    assert (tmp_path / "sites/a.conf").read_text() == (tmp_path / "nginx.conf").read_text() == "first"
    swapping.put_back()
    assert (tmp_path / "nginx.conf").read_text() == "package's own"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nginx.conf"]
    candidate("first")
    candidate("second")
    swapping.put_back()
    assert (tmp_path / "sites/a.conf").read_text() == (tmp_path / "nginx.conf").read_text() == "first"


@pytest.mark.parametrize(("fault", "reloads"), [(swapping.NotTaken, 1), (swapping.Refused, 2)])
def test_what_nginx_did_not_take_is_not_reloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception], reloads: int
) -> None:
    for name, path in {"NGINX": ".", "CANDIDATE": "candidate", "PREVIOUS": "previous"}.items():
        monkeypatch.setattr(swapping, name, tmp_path / path)
    (tmp_path / "nginx.conf").write_text("before")
    (tmp_path / "candidate/sites").mkdir(parents=True)
    (tmp_path / "candidate/nginx.conf").write_text("candidate")
    taken: list[str] = []

    def take() -> None:
        taken.append((tmp_path / "nginx.conf").read_text())
        if len(taken) == 1:
            raise fault("the port is taken")

    monkeypatch.setattr(swapping, "take", take)
    monkeypatch.setattr(swapping, "run", lambda *command: (0, ""))
    monkeypatch.setattr(swapping, "rehearsed", lambda *arguments: [])
    with pytest.raises(swapping.Refused, match="the port is taken\nThe configuration before it is back"):
        swapping.swap([])
    assert taken == ["candidate", "before"][:reloads]
    assert (tmp_path / "nginx.conf").read_text() == "before"


def test_what_the_rehearsal_shows_never_comes_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swapping, "CANDIDATE", tmp_path / "candidate")
    (tmp_path / "candidate/sites").mkdir(parents=True)
    monkeypatch.setattr(swapping, "run", lambda *command: (0, ""))
    monkeypatch.setattr(swapping, "rehearsed", lambda *arguments: ["a site answered 200 before, and now 502"])
    monkeypatch.setattr(swapping, "put_in_place", lambda: pytest.fail("it was put in place"))
    with pytest.raises(swapping.Refused, match="and now 502"):
        swapping.swap([])
    assert not (tmp_path / "candidate").exists()


@pytest.mark.parametrize(
    ("line", "outside"),
    [
        ('connect() to unix:/run/no.sock failed (2: …), upstream: "uwsgi://unix:/run/no.sock:"', False),
        ('connect() failed (111: Connection refused), upstream: "uwsgi://127.0.0.1:9", host: "a"', True),
        ('connect() failed (101: Network is unreachable), upstream: "http://10.0.0.2:80/x"', True),
        ("[emerg] 12#12: bind() to 10.0.0.2:80 failed (99: Cannot assign requested address)", True),
        ('open() "/srv/nowhere/site.css" failed (2: No such file or directory)', False),
    ],
)  # fmt: skip
def test_what_a_network_of_its_own_cannot_reach_is_no_fault(line: str, outside: bool) -> None:
    assert bool(rehearsal.OUTSIDE.search(line)) is outside
