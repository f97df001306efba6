"""What is done to text before it is searched."""
