"""What is backed up: which paths, at which version and commit, and what the changelog says of it."""
