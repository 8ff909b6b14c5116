"""pyinfra operations of our own: what pyinfra has no operation for, in the form of pyinfra's own."""
