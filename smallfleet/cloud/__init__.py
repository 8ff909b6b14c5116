"""DigitalOcean: what is there, what is missing and costs, and making it."""
