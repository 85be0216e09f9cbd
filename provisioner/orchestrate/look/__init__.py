"""What `status`, `certs` and `trust` tell; nothing is changed."""
