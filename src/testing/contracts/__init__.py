"""What every adapter of a port must keep: test classes to subclass as `Test…`, beside the fixtures that they name.

They want pytest with pytest-asyncio, and `asyncio_mode = auto` in its settings. A cache, for example:

    import asyncio

    import pytest

    from llm_backend.testing.contracts.cache import CacheContract
    from my_program import MyCache


    @pytest.fixture
    def cache():
        return MyCache()


    @pytest.fixture
    def pass_time():
        return lambda duration: asyncio.sleep(duration.total_seconds())


    class TestMyCache(CacheContract):
        pass

The fixture `store` of many is all that is stored together, a `contracts.store.Store`; `MemoryStore` of
`llm_backend.infrastructure.memory` is one.
"""

from pkgutil import iter_modules

import pytest

# So that a failed `assert` in here tells as much as one in a test file. Each module by its name: this one is imported
# already, which pytest would warn of.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))
