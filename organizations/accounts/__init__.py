"""The pages of a person's account: signing in, passwords, second factor, invitations, devices."""
