"""Django's backend for PostgreSQL with a pool of ours."""
