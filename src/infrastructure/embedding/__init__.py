"""Embedding models: a lexical one that needs nothing, and any server that speaks /v1/embeddings."""
