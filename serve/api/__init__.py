"""The REST API of a workspace's server, and its client."""
