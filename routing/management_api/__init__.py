"""The routing half of the management API, one module a noun."""
