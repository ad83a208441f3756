from promptflow.storage.numbers import Numbers


def test_numbers_are_a_set():
    numbers = Numbers()
    wanted = [0, 7, 8, 100_000, 3, 2**28 - 1, 2**28, 2**70, -1]
    for number in [*wanted, *wanted]:
        numbers.add(number)
    assert len(numbers) == len(wanted)
    assert all(number in numbers for number in wanted)
    assert not any(number in numbers for number in (1, 9, 99_999, 2**28 + 1, -2, "0", None))
