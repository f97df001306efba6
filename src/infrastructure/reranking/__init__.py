"""Rerankers behind HTTP."""
