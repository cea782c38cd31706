"""Damaged and forged files of every kind are refused with a sentence, or give what the intact file gives."""

import fuzz


def test_two_thousand_cases_are_refused_or_right():
    tally, findings, _ = fuzz.run(2000, seed=19)
    assert findings == []
    assert tally.total() == 2000
    for kind in fuzz.SHARES:  # each kind was tried, and each kind of refusal met
        assert sum(n for (of, outcome), n in tally.items() if of == kind and outcome.startswith("refused")) > 20
    refusals = {outcome.removeprefix("refused, ") for _, outcome in tally} - {"right", "unchanged"}
    assert refusals == {"BadData", "Corrupt", "Desynchronised", "TooLarge", "Truncated", "Unsupported", "WrongModel"}
