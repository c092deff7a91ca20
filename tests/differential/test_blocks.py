"""No block that PostgreSQL's own WAL readers show may be missing in our block table."""

import json
import random
import re

import pytest

from harness import environment as envm
from harness import scenario, tools
from harness.walblocks import lsn, waldump, walinspect


class Plan:
    """`pg-rejoin plan --blocks FILE`: the JSON plan, and one "SPC/DB/REL BLK" line a block."""

    def __init__(self, root, directory, pair):
        binary = tools.pg_rejoin_binary(root)
        blocks = directory / "blocks"
        blocks.touch()
        envm.give(blocks)
        done = envm.run([binary, "plan", "-D", pair.target.data, f"--source-server={pair.conninfo()}", "--blocks", blocks])
        self.json = json.loads(done.stdout)
        self.fork = lsn(self.json["fork"]["lsn"])
        self.start = lsn(self.json["start"]["lsn"])
        self.end = lsn(self.json["end"]["lsn"])
        self.blocks = set(blocks.read_text().splitlines())


def missing(plan: Plan, reference: dict) -> list:
    return sorted(b for b, at in reference.items() if plan.start <= at < plan.end and b not in plan.blocks)


@pytest.mark.parametrize("number", range(20))
def test_waldump_15(number, root, directory, templates, seed):
    rng = random.Random(f"{seed}/blocks")
    pair = scenario.start_pair(directory, templates, 15, seed, checksums=rng.random() < 0.5)
    first = pair.target.value("SELECT redo_lsn::text FROM pg_control_checkpoint()")
    scenario.diverge(pair, rng.choice(scenario.STOP_MODES), steps=rng.choice([5, 20, 40]))
    print(*pair.story.lines, sep="\n")
    plan = Plan(root, directory, pair)
    history = pair.source.value("SELECT pg_read_file('pg_wal/00000002.history')")
    pair.close()
    dump = waldump(pair.target.data, 1, first)
    print(dump.end_message, plan.json)
    fork = lsn(history.split()[1])
    assert plan.fork == fork
    # The plan must begin no later than where recovery from the last common checkpoint begins.
    redo = max((at, redo) for at, redo in dump.checkpoints if at < fork)[1]
    assert plan.start <= redo
    assert plan.end >= dump.end, f"the plan ends at {plan.end:X}, PostgreSQL reads to {dump.end:X}"
    assert missing(plan, dump.blocks) == []


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("major", [16, 17, 18])
def test_walinspect(major, number, root, directory, templates, seed):
    pair = scenario.start_pair(directory, templates, major, seed)
    first = pair.target.value("SELECT redo_lsn::text FROM pg_control_checkpoint()")
    reference = {}

    scenario.diverge(pair, "immediate", steps=20, before_stop=lambda p: reference.update(walinspect(p.target, first)))
    print(*pair.story.lines, sep="\n")
    plan = Plan(root, directory, pair)
    pair.close()
    assert reference
    assert missing(plan, reference) == []


def test_lsn_texts_are_hexadecimal(root, directory, templates, seed):
    """Scripts compare them with the server's."""
    pair = scenario.start_pair(directory, templates, 17, seed)
    scenario.diverge(pair, "fast", steps=3)
    plan = Plan(root, directory, pair).json
    pair.close()
    for key in ("fork", "start", "end"):
        assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", plan[key]["lsn"]), plan
