"""Providers & Models: the default model, the model policy, data collection and spending limits."""
