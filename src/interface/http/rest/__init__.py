"""The routes under `/api`: what clients send and see, and which use case answers."""
