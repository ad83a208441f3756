"""The nouns of tracing."""
