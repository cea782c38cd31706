"""What nbval leaves out when it compares a notebook's stored output with a new run's."""

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    # Progress bars and compiler messages go to stderr; neither is a result.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
