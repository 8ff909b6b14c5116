"""The lab: a local cloud whose droplets are systemd-nspawn containers behind DigitalOcean's API."""
