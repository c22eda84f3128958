"""The framework of the management API: one base for all of its endpoints, and the shapes of what they are sent."""
