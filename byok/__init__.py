"""With whose key: provider credentials, their encryption, and the providers they belong to."""
