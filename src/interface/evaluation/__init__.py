"""What an evaluation looks like on a terminal, as a picture and as data."""
