"""Files in an object store, through pyarrow."""
