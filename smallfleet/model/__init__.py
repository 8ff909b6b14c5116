"""What the owner asks for: the fleet, its droplets and its roles, as pydantic models."""
