"""How our keys look in Redis."""

from hashlib import sha256

PREFIX = "llm_backend"


def redis_key(kind: str, key: str) -> str:
    """Of bounded length whatever the key is, and not telling the user names and addresses that keys are made of.

    The braces make all keys that belong to one of ours live on one node of a cluster.
    """
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{PREFIX}:{kind}:{{{digest}}}"
