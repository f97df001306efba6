"""The faces of the product: how its use cases look from outside."""
