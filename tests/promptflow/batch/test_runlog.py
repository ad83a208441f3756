"""The log of a run on a disk that is full."""

import resource

from promptflow.batch.runlog import run_log


def test_a_log_that_cannot_be_written_is_no_news(tmp_path, capsys):
    file = tmp_path / "logs.txt"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with run_log(file, "r") as log:
        log.warning("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, limits[1]))
        try:
            log.warning("second")
            log.warning("third")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "first" in file.read_text()
    assert "Logging error" not in capsys.readouterr().err


def test_a_log_that_is_full_to_the_end_does_not_end_the_run(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with run_log(tmp_path / "logs.txt", "r") as log:
            log.warning("first")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Logging error" not in capsys.readouterr().err
