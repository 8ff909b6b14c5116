"""Secrets: opened with an SSH key, whole or not at all, and never shown."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import re
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from typer.testing import CliRunner

from smallfleet import Droplet, Fleet, FleetError
from smallfleet.cli.secrets import app
from smallfleet.context import Context
from smallfleet.secrets import (
    Secret,
    Secrets,
    generate_missing,
    missing_secrets,
    new_secret,
    required_secrets,
)
from smallfleet.secrets.file import parse
from smallfleet.secrets.keys import identity

PROJECT = Path(__file__).resolve().parents[2]
CLEAR = "in-clear-4711"


def write_key(path: Path, key: Any, passphrase: bytes | None = None) -> None:
    """An SSH key pair, as ssh-keygen writes it."""
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.OpenSSH
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    Path(f"{path}.pub").write_bytes(public + b" owner@example.com\n")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet of two droplets in a directory with the project's roles and an owner's key."""
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "roles", tmp_path / "roles")
    write_key(tmp_path / "id", ed25519.Ed25519PrivateKey.generate())
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/prod.py").write_text(
        "from smallfleet import Droplet, Fleet\n"
        "fleet = Fleet(name='prod', vpc='10.0.0.0/24', domain='example.com', ssh_keys=['id.pub'],\n"
        "droplets=[\n"
        "    Droplet('web', size='s-1vcpu-1gb', roles=['podcast']),\n"
        "    Droplet('mongo', size='s-1vcpu-2gb', roles=['mongodb']),\n"
        "])\n"
        "globals().update(fleet.groups())\n"
    )
    return Fleet(
        name="prod",
        vpc="10.0.0.0/24",
        domain="example.com",
        ssh_keys=["id.pub"],
        droplets=[
            Droplet("web", size="s-1vcpu-1gb", roles=["podcast"]),
            Droplet("mongo", size="s-1vcpu-2gb", roles=["mongodb"]),
        ],
    )


def test_a_secret_shows_nowhere_but_by_reveal() -> None:
    secret = Secret(CLEAR)
    shown = [
        str(secret), repr(secret), f"{secret}", f"{secret:>20}", str({"a": [secret]}),
        repr(pickle.loads(pickle.dumps(secret)).reveal()), json.dumps(secret, default=str), secret.to_json(),
    ]  # fmt: skip
    assert all("(secret)" in text and CLEAR not in text for text in shown), shown
    assert CLEAR.encode() not in pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == CLEAR and copy.deepcopy(secret).reveal() == CLEAR
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret == Secret(CLEAR) != Secret("other") and secret != CLEAR


def test_what_is_saved_is_read_back_by_the_key_only(fleet: Fleet, tmp_path: Path) -> None:
    path = fleet.secrets_file
    Secrets(path, {"a/b": Secret(CLEAR), "c/d": Secret("zeile: 1\n'\"ä#\n")}).save(fleet.ssh_keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CLEAR.encode() not in path.read_bytes() and path.read_bytes().startswith(
        b"age-encryption.org/v1\n"
    )
    assert [file.name for file in path.parent.glob("*secrets*")] == [path.name], "nothing is left beside it"
    read = Secrets.open(path, [fleet.ssh_key])
    assert list(read) == ["a/b", "c/d"] and read["c/d"].reveal() == "zeile: 1\n'\"ä#\n"
    assert CLEAR not in repr(read)
    write_key(tmp_path / "other", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(FleetError, match="does not open it"):
        Secrets.open(path, [tmp_path / "other"])


def test_two_owners_each_open_it(fleet: Fleet, tmp_path: Path) -> None:
    write_key(tmp_path / "second", rsa.generate_private_key(65537, 2048))
    Secrets(fleet.secrets_file, {"a/b": Secret(CLEAR)}).save([*fleet.ssh_keys, tmp_path / "second.pub"])
    for key in (fleet.ssh_key, tmp_path / "second"):
        assert Secrets.open(fleet.secrets_file, [key])["a/b"].reveal() == CLEAR


def test_a_damaged_file_and_unfit_keys_are_said(fleet: Fleet, tmp_path: Path) -> None:
    write_key(tmp_path / "ecdsa", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(FleetError, match="ssh-ed25519 and ssh-rsa keys only"):
        Secrets(fleet.secrets_file, {}).save([tmp_path / "ecdsa.pub"])
    with pytest.raises(FleetError, match="cannot be read"):
        identity(tmp_path / "gone")
    (tmp_path / "no-key").write_text("hello")
    with pytest.raises(FleetError, match="not an SSH private key"):
        identity(tmp_path / "no-key")
    generate_missing(fleet)
    fleet.secrets_file.write_bytes(fleet.secrets_file.read_bytes()[:-9])
    with pytest.raises(FleetError, match="damaged"):
        Secrets.open(fleet.secrets_file, [fleet.ssh_key])


def test_a_key_with_a_passphrase_is_asked_for(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(tmp_path / "locked", ed25519.Ed25519PrivateKey.generate(), b"open sesame")
    Secrets(fleet.secrets_file, {"a/b": Secret(CLEAR)}).save([tmp_path / "locked.pub"])
    with pytest.raises(FleetError, match="no terminal to ask"):
        Secrets.open(fleet.secrets_file, [tmp_path / "locked"])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda prompt: "wrong")
    with pytest.raises(FleetError, match="not its passphrase"):
        Secrets.open(fleet.secrets_file, [tmp_path / "locked"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: "open sesame")
    assert Secrets.open(fleet.secrets_file, [tmp_path / "locked"])["a/b"].reveal() == CLEAR


@pytest.mark.parametrize(
    "text", [f"a: {CLEAR}", f"- {CLEAR}", f"a/b: [{CLEAR}]", f"a/b: {CLEAR}\n c: d: e", "a/b: 17"]
)
def test_what_is_wrong_in_the_clear_text_is_said_without_it(text: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse(text, "what you wrote")
    assert CLEAR not in str(caught.value) and "what you wrote" in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_roles_say_which_secrets_are_needed(fleet: Fleet) -> None:
    needed = ["mongodb/admin", "mongodb/keyfile", "mongodb/podcast", "podcast/session_secret"]
    assert sorted(required_secrets(fleet)) == needed
    with pytest.raises(FleetError, match=r"mongodb/keyfile(.|\n)*fleet secrets generate"):
        fleet.check_secrets()
    assert sorted(generate_missing(fleet)) == needed
    before = {name: secret.reveal() for name, secret in fleet.open_secrets().items()}
    assert len(set(before.values())) == 4
    sealed = fleet.secrets_file.read_bytes()
    assert generate_missing(fleet) == [] and fleet.secrets_file.read_bytes() == sealed, (
        "the second time changes nothing"
    )
    fleet.check_secrets()
    assert missing_secrets(fleet) == []


def test_new_secrets_have_the_form_that_their_place_wants() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", new_secret("mongodb/podcast").reveal())
    keyfile = new_secret("mongodb/keyfile").reveal()
    assert 6 <= len(keyfile) <= 1024 and len(base64.b64decode(keyfile, validate=True)) == 756


def test_a_droplet_gets_only_what_its_roles_need(fleet: Fleet) -> None:
    generate_missing(fleet)

    def context(name: str) -> Context:
        return Context.of(SimpleNamespace(name=name, data={"fleet": fleet, "droplet": fleet.droplet(name)}))

    assert context("web").secret("podcast/session_secret").reveal()
    assert context("web").secret("mongodb/podcast") == context("mongo").secret("mongodb/podcast")
    for droplet, name in (
        ("web", "mongodb/admin"),
        ("mongo", "podcast/session_secret"),
        ("web", "digitalocean/token"),
    ):
        with pytest.raises(FleetError, match="so it does not get it"):
            context(droplet).secret(name)


def test_the_token_comes_from_the_environment_or_the_secrets(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FleetError, match=r"fleet secrets set .* digitalocean/token"):
        fleet.token()
    Secrets(fleet.secrets_file, {"digitalocean/token": Secret(CLEAR)}).save(fleet.ssh_keys)
    fleet.forget_secrets()
    assert fleet.token().reveal() == CLEAR
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", "from-the-environment")
    assert fleet.token().reveal() == "from-the-environment"


def run(*words: str, input: str | None = None) -> str:
    """Run `fleet secrets`; its output, in which no secret may stand."""
    result = CliRunner().invoke(app, list(words), input=input, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert CLEAR not in result.output
    return result.output


def test_the_commands(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inventory = "inventory/prod.py"
    assert run("list", inventory).count("missing") == 4
    assert "mongodb/admin" in run("generate", inventory)
    run("set", inventory, "podcast/session_secret", input=f"{CLEAR}\n")
    assert "missing" not in run("list", inventory)

    def now() -> dict[str, str]:
        return {
            name: secret.reveal()
            for name, secret in Secrets.open(fleet.secrets_file, [fleet.ssh_key]).items()
        }

    before = now()
    assert before["podcast/session_secret"] == CLEAR
    run("rotate", inventory, "mongodb/podcast")
    assert [name for name in before if now()[name] != before[name]] == ["mongodb/podcast"]
    monkeypatch.setenv("EDITOR", f"sed -i s/{CLEAR}/changed/")
    assert "Saved" in run("edit", inventory)
    assert now()["podcast/session_secret"] == "changed"
    assert "Nothing changed" in run("edit", inventory)
    sealed = fleet.secrets_file.read_bytes()
    for editor, said in (
        ("false", "ended with 1"),
        ("no-such-editor", "is not there"),
        ("sed -i 1s/.*/x/", "what you wrote"),
    ):
        monkeypatch.setenv("EDITOR", editor)
        with pytest.raises(FleetError, match=said):
            run("edit", inventory)
    with pytest.raises(FleetError, match="is no name of a secret"):
        run("set", inventory, "../x", input="y")
    assert fleet.secrets_file.read_bytes() == sealed
