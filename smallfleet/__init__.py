"""smallfleet: infrastructure as code for a handful of small VMs, on pyinfra."""

from __future__ import annotations

from smallfleet.errors import FleetError
from smallfleet.model.fleet import Droplet, Firewall, Fleet, LoadBalancer

__all__ = ["Droplet", "Firewall", "Fleet", "FleetError", "LoadBalancer"]
