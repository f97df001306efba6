"""What every adapter of a port must keep: test classes to subclass, each with the fixtures it names to provide.

They want pytest with pytest-asyncio, and `asyncio_mode = "auto"`.
"""

from pkgutil import iter_modules

import pytest

# So that a failed `assert` in here tells as much as one in a test file. Each module by its name: this one is imported
# already, which pytest would warn of.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))
