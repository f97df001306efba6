"""Passwords, tokens, sealed secrets, and where time and chance come from."""
