"""pyinfra facts of our own, in the form of pyinfra's own."""
