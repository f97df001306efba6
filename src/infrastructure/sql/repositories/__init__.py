"""The repositories of the domain over one SQL transaction."""
