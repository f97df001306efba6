"""The ports, kept with the help of libraries, databases and other servers."""
