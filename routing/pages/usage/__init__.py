"""The pages about usage: sums by day, mode, model and member, and the single requests."""
