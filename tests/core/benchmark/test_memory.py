"""What is told of the memory of a run."""

from core.benchmark.memory import Stage, read_status, stage_table

STATUS = """Name:\tpython
VmHWM:\t    4000 kB
VmRSS:\t    3000 kB
RssAnon:\t    2000 kB
RssFile:\t    1000 kB
"""


def test_the_numbers_are_those_of_the_system_in_megabytes() -> None:
    assert read_status(STATUS) == [3.072, 2.048, 1.024, 4.096]


def test_a_stage_is_a_row() -> None:
    table = stage_table([Stage("weights loaded", *read_status(STATUS))])
    assert table.columns == ("", "resident", "own", "of files", "peak")
    assert table.rows == [("weights loaded", "3", "2", "1", "4")]
