"""The passage index on LanceDB: on a disk or in an object store, without a server."""
