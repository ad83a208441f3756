"""Models: where they are found, what they need, which versions a workspace keeps."""
