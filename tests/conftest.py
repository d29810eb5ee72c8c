"""Where the parts are promised (SENSORIUM_REQUIRE_PARTS=1, set by .ci/run), a test that skips for want of one fails."""

import os
from collections.abc import Generator

import pytest
from parts import MISSING


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("SENSORIUM_REQUIRE_PARTS") == "1" and MISSING in str(report.longrepr):
        report.outcome = "failed"
    return report
