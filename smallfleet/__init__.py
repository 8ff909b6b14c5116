"""smallfleet: infrastructure as code for a handful of small VMs, on pyinfra."""
