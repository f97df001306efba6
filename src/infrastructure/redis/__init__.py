"""What replicas share through Redis, and how they get along when it is away."""
