"""What takes hours: run by `make long`, not by `make test`."""
