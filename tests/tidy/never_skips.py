"""A pytest plugin for ctest: a run in which a test was skipped has failed. A part that is missing is to be installed."""


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and exitstatus == 0 and reporter.stats.get("skipped"):
        session.exitstatus = 1
