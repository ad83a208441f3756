"""The data plane of the server: which deployment answers a request, and getting it there and back."""
