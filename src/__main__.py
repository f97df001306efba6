"""`python -m llm_backend` is the command `llm-backend`."""

import sys

from llm_backend.cli import main

if __name__ == "__main__":
    sys.exit(main())
