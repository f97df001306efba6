"""What more than one adapter writes down, as bytes."""
