"""The server wing: who keeps an organization's configuration and keys."""
