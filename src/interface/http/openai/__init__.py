"""`/v1`: what any client of OpenAI's API expects, over the same users, conversations and knowledge bases as `/api`."""
