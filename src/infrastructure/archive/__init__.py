"""Backups as files: a compressed tar archive with a list of what is in it."""
