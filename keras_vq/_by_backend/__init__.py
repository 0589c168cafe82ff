"""What is written for one backend: `_backend` takes it where that one runs."""
