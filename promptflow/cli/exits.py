"""The exit codes of `pf`, the same for every verb."""

OK = 0
ERROR = 1
USAGE = 2
ROWS_FAILED = 3
INCONCLUSIVE = 4
INTEGRITY = 5
INTERRUPTED = 130
