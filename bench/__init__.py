"""`make bench`: this gateway, two peers and nginx on the same work, on one core each, compared as ratios."""
