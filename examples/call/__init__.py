"""A whole call on one machine, without any account: `make call`."""
