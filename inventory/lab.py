"""The production fleet in the lab ($SMALLFLEET_LAB, else demo): fleet lab up starts it."""

from pathlib import Path

from smallfleet.inventory import load_inventory

fleet = load_inventory(Path(__file__).with_name("prod.py")).in_lab()

globals().update(fleet.groups())
