"""Language models: any OpenAI-compatible server over HTTP, the offline demo, and the router in front of them."""
