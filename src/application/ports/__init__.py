"""What the use cases need from outside, one small protocol a file."""
