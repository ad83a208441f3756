"""Runs once, after all lines: every input is a list with one item per line."""

from collections import Counter

from promptflow.core import log_metric, tool


@tool
def metrics(grades: list[str], labels: list[str], predictions: list[str]) -> dict:
    log_metric("accuracy", share("right", grades))
    known = {label.strip().lower() for label in labels}
    log_metric("not_a_label", sum(p.strip().lower() not in known for p in predictions))
    for label in sorted(known):
        log_metric(f"recall.{label}", share("right", [g for g, x in zip(grades, labels) if x.strip().lower() == label]))
    mistakes = Counter(f"{x} taken for {p}" for g, x, p in zip(grades, labels, predictions) if g == "wrong")
    return dict(mistakes.most_common(5))


def share(wanted: str, grades: list[str]) -> float:
    return round(grades.count(wanted) / len(grades), 4) if grades else 0.0
