"""This checkout keeps the rules."""

import pathlib

import pytest

import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tree():
    return rules.Tree(ROOT)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_rule(tree, rule):
    findings = [str(finding) for finding in rule(tree)]
    assert not findings, rule.__doc__ + "\n" + "\n".join(findings)
