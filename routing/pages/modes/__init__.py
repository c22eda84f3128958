"""The pages about modes and the routes that serve them."""
