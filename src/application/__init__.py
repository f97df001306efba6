"""What the product can do: one module per capability, one class per use case."""
