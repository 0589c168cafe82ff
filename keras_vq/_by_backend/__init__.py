"""Modules for a single backend, which `_backend` imports only on that backend."""
