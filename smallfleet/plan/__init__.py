"""A dry run that can be trusted: what a deploy will change, on which droplet, and what that touches."""
