"""Door: `pf` under its old private spelling."""
