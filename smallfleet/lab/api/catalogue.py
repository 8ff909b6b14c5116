"""What DigitalOcean sells: regions, sizes with list prices (US dollars), distribution images."""

from __future__ import annotations

from typing import Any

from smallfleet.lab.api.errors import unprocessable
from smallfleet.lab.api.store import Data

REGIONS = {
    "nyc1": "New York 1",
    "nyc2": "New York 2",
    "nyc3": "New York 3",
    "ams3": "Amsterdam 3",
    "sfo2": "San Francisco 2",
    "sfo3": "San Francisco 3",
    "sgp1": "Singapore 1",
    "lon1": "London 1",
    "fra1": "Frankfurt 1",
    "tor1": "Toronto 1",
    "blr1": "Bangalore 1",
    "syd1": "Sydney 1",
}

# slug: memory (MiB), vcpus, disk (GB), transfer (TB), $ per month, $ per hour, description
_SIZES: dict[str, tuple[int, int, int, float, float, float, str]] = {
    "s-1vcpu-512mb-10gb": (512, 1, 10, 0.5, 4, 0.00595, "Basic"),
    "s-1vcpu-1gb": (1024, 1, 25, 1, 6, 0.00893, "Basic"),
    "s-1vcpu-1gb-amd": (1024, 1, 25, 1, 7, 0.01042, "Basic AMD"),
    "s-1vcpu-1gb-intel": (1024, 1, 25, 1, 7, 0.01042, "Basic Intel"),
    "s-1vcpu-2gb": (2048, 1, 50, 2, 12, 0.01786, "Basic"),
    "s-1vcpu-2gb-amd": (2048, 1, 50, 2, 14, 0.02083, "Basic AMD"),
    "s-1vcpu-2gb-intel": (2048, 1, 50, 2, 14, 0.02083, "Basic Intel"),
    "s-2vcpu-2gb": (2048, 2, 60, 3, 18, 0.02679, "Basic"),
    "s-2vcpu-2gb-amd": (2048, 2, 60, 3, 21, 0.03125, "Basic AMD"),
    "s-2vcpu-2gb-intel": (2048, 2, 60, 3, 21, 0.03125, "Basic Intel"),
    "s-2vcpu-4gb": (4096, 2, 80, 4, 24, 0.03571, "Basic"),
    "s-2vcpu-4gb-amd": (4096, 2, 80, 4, 28, 0.04167, "Basic AMD"),
    "s-2vcpu-4gb-intel": (4096, 2, 80, 4, 28, 0.04167, "Basic Intel"),
    "s-4vcpu-8gb": (8192, 4, 160, 5, 48, 0.07143, "Basic"),
    "s-4vcpu-8gb-amd": (8192, 4, 160, 5, 56, 0.08333, "Basic AMD"),
    "s-4vcpu-8gb-intel": (8192, 4, 160, 5, 56, 0.08333, "Basic Intel"),
    "s-8vcpu-16gb": (16384, 8, 320, 6, 96, 0.14286, "Basic"),
    "c-2": (4096, 2, 25, 4, 42, 0.0625, "CPU-Optimized"),
    "c-4": (8192, 4, 50, 5, 84, 0.125, "CPU-Optimized"),
    "g-2vcpu-8gb": (8192, 2, 25, 4, 63, 0.09375, "General Purpose"),
    "m-2vcpu-16gb": (16384, 2, 50, 4, 84, 0.125, "Memory-Optimized"),
}

# slug: id, distribution, name
_IMAGES = {
    "debian-12-x64": (133182671, "Debian", "12 x64"),
    "debian-13-x64": (198064251, "Debian", "13 x64"),
    "ubuntu-22-04-x64": (129211873, "Ubuntu", "22.04 (LTS) x64"),
    "ubuntu-24-04-x64": (155133621, "Ubuntu", "24.04 (LTS) x64"),
}


def region(slug: str) -> dict[str, Any]:
    """The region as the API gives it; 422 if there is none."""
    if slug not in REGIONS:
        raise unprocessable("You specified an invalid region for Droplet creation.")
    return {
        "name": REGIONS[slug],
        "slug": slug,
        "features": ["private_networking", "backups", "ipv6", "metadata", "install_agent", "image_transfer"],
        "available": True,
        "sizes": list(_SIZES),
    }


def size(slug: str) -> dict[str, Any]:
    """The size as the API gives it; 422 if there is none."""
    if slug not in _SIZES:
        raise unprocessable("You specified an invalid size for Droplet creation.")
    memory, vcpus, disk, transfer, monthly, hourly, description = _SIZES[slug]
    return {
        "slug": slug,
        "memory": memory,
        "vcpus": vcpus,
        "disk": disk,
        "transfer": float(transfer),
        "price_monthly": float(monthly),
        "price_hourly": hourly,
        "regions": list(REGIONS),
        "available": True,
        "description": description,
    }


def regions() -> list[dict[str, Any]]:
    return [region(slug) for slug in REGIONS]


def sizes() -> list[dict[str, Any]]:
    return [size(slug) for slug in _SIZES]


def images(slugs: list[str]) -> list[dict[str, Any]]:
    """The distribution images `slugs`, as the API gives them."""
    answer = []
    for place, slug in enumerate(slugs):
        number, distribution, name = _IMAGES.get(slug, (100000000 + place, slug.split("-")[0].title(), slug))
        answer.append(
            {
                "id": number,
                "name": name,
                "distribution": distribution,
                "slug": slug,
                "public": True,
                "regions": list(REGIONS),
                "created_at": "2024-01-01T00:00:00Z",
                "min_disk_size": 7,
                "size_gigabytes": 0.5,
                "type": "base",
                "description": f"{distribution} {name}",
                "tags": [],
                "status": "available",
                "error_message": "",
            }
        )
    return answer


def find_image(data: Data, slugs: list[str], wanted: int | str) -> dict[str, Any] | None:
    """The image with the id or slug `wanted`: a distribution's, or a snapshot of the account."""
    if (own := data["images"].get(str(wanted))) is not None:
        return own
    for image in images(slugs):
        if str(wanted) in (image["slug"], str(image["id"])):
            return image
    return None


def machine_image(image: dict[str, Any]) -> str:
    """What `MachineSpec.image` calls it."""
    return image["slug"] or f"snapshot-{image['id']}"
