"""The `pf` command line."""
