"""SSH keys of the account."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from smallfleet.lab.api.cloud import Here
from smallfleet.lab.api.errors import not_found, unprocessable
from smallfleet.lab.api.pages import Paged
from smallfleet.lab.api.store import Data, next_id

router = APIRouter(prefix="/account/keys")


class NewKey(BaseModel):
    name: str
    public_key: str


class KeyChange(BaseModel):
    name: str


def fingerprint(public_key: str) -> str:
    """MD5 of the key's blob as colon-separated hex, as DigitalOcean gives it; 422 if it is no key."""
    words = public_key.split()
    try:
        kind, blob = words[0], base64.b64decode(words[1], validate=True)
        length = int.from_bytes(blob[:4], "big")
        if blob[4 : 4 + length].decode() != kind:
            raise ValueError
    except (IndexError, ValueError, binascii.Error):
        raise unprocessable("Key invalid, please use a valid SSH key.") from None
    return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def find_key(data: Data, wanted: int | str) -> dict[str, Any] | None:
    """The key with the id or fingerprint `wanted`."""
    for key in data["keys"].values():
        if str(wanted) in (str(key["id"]), key["fingerprint"]):
            return key
    return None


def _key(data: Data, wanted: str) -> dict[str, Any]:
    key = find_key(data, wanted)
    if key is None:
        raise not_found()
    return key


@router.get("")
def list_keys(cloud: Here, page: Paged) -> dict[str, Any]:
    with cloud.store.read() as data:
        return page.of("ssh_keys", list(data["keys"].values()))


@router.post("", status_code=201)
def create_key(cloud: Here, body: NewKey) -> dict[str, Any]:
    print_ = fingerprint(body.public_key)
    with cloud.store.change() as data:
        if find_key(data, print_):
            raise unprocessable("SSH Key is already in use on your account")
        key = {
            "id": next_id(data),
            "name": body.name,
            "fingerprint": print_,
            "public_key": body.public_key.strip(),
        }
        data["keys"][str(key["id"])] = key
        return {"ssh_key": key}


@router.get("/{wanted}")
def get_key(cloud: Here, wanted: str) -> dict[str, Any]:
    with cloud.store.read() as data:
        return {"ssh_key": _key(data, wanted)}


@router.put("/{wanted}")
def rename_key(cloud: Here, wanted: str, body: KeyChange) -> dict[str, Any]:
    with cloud.store.change() as data:
        key = _key(data, wanted)
        key["name"] = body.name
        return {"ssh_key": key}


@router.delete("/{wanted}", status_code=204)
def delete_key(cloud: Here, wanted: str) -> Response:
    with cloud.store.change() as data:
        del data["keys"][str(_key(data, wanted)["id"])]
    return Response(status_code=204)
