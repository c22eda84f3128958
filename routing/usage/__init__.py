"""What becomes of usage records once they are written: sums, lists, files, and their end."""
