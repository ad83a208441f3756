"""HTTP libraries whose calls go by the tape: one file each."""
