"""What the product is about: its words and its rules, in plain Python."""
