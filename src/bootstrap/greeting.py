"""The first lines on the terminal: where, with what, and what to try next."""

from importlib.metadata import version
from pathlib import Path

from llm_backend.config import Provider, Settings


def greeting(settings: Settings, url: str) -> str:
    """Lines, each with its end."""
    keyed = [provider.name for provider in settings.llm.providers if _is_ready(provider)]
    keyless = [provider.name for provider in settings.llm.providers if not _is_ready(provider)]
    waiting = f" (each conversation brings its own key: {', '.join(keyless)})" if keyless else ""
    lines = [
        f"llm-backend {version('llm-backend-api')} listens on {url}",
        f"  profile    {_profile(settings)}",
        f"  providers  {', '.join(keyed) or 'none has a key'}{waiting}",
    ]
    if settings.server.documentation:
        lines.append(f"  try        {url}/docs, or the walk in the README")
    return "".join(f"{line}\n" for line in lines)


def _profile(settings: Settings) -> str:
    """Where things are kept."""
    redis = [f"Redis at {settings.redis.place}"] if settings.redis.address else []
    kept = _kept(settings).items()
    elsewhere = [f"{what} in {place}" for what, place in kept if not _is_within(settings.data_folder, str(place))]
    if settings.database.url is not None:
        elsewhere.insert(0, f"PostgreSQL at {settings.database.place}")
    kind = "embedded" if settings.database.url is None else "scaled"
    rest = "the rest" if elsewhere else "everything"
    return f"{kind}: {', '.join([*elsewhere, f'{rest} in {settings.data_folder}', *redis])}"


def _kept(settings: Settings) -> dict[str, Path | str]:
    """What can be told to lie outside of the data folder."""
    database = {"database": settings.database_file} if settings.database.url is None else {}
    return {
        **database,
        "passages": settings.lancedb_uri,
        "originals": settings.originals_uri or settings.originals_folder,
        "keys": settings.key_file,
        "models": settings.models_folder,
    }


def _is_within(folder: Path, place: str) -> bool:
    return "://" not in place and Path(place).resolve().is_relative_to(folder.resolve())


def _is_ready(provider: Provider) -> bool:
    return provider.kind == "demo" or provider.api_key is not None or not provider.needs_key
