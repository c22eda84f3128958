"""The management API of keys and of an organization's own providers."""
