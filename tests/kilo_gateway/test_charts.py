"""Where bars and lines lie."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kilo_gateway.charts import BOTTOM, HEIGHT, TOP, Column, bar_chart, sparkline

numbers = st.one_of(
    st.integers(0, 10**12), st.decimals(0, 10**9, allow_nan=False, allow_infinity=False), st.floats(0, 10**9)
)


class TestBars:
    def test_stacked(self) -> None:
        chart = bar_chart([Column("Mon", (30, 10), "Monday"), Column("Tue", (0, 5), "Tuesday")])
        monday, tuesday = chart.columns
        assert [bar.series for bar in monday.bars] == [1, 2]
        assert monday.bars[0].y == monday.bars[1].y + monday.bars[1].height
        assert [bar.series for bar in tuesday.bars] == [2]
        assert chart.lines[0].label == "0"
        assert chart.lines[-1].label == "40"

    def test_nothing(self) -> None:
        assert bar_chart([]).columns == ()
        assert bar_chart([Column("Mon", (0,), "none")]).columns[0].bars == ()
        assert bar_chart([Column("Mon", (5e-324,), "next to none")]).lines[-1].label == "4"

    @given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40))
    def test_all_is_inside(self, rows: list[tuple[Decimal, Decimal]]) -> None:
        chart = bar_chart([Column("x", row, "x") for row in rows])
        for column in chart.columns:
            assert column.x >= 0
            assert column.x + column.width <= 100.01
            for bar in column.bars:
                assert bar.y >= TOP - 0.1
                assert bar.y + bar.height <= HEIGHT - BOTTOM + 0.1


class TestSparkline:
    def test_it_works(self) -> None:
        line = sparkline([0, 10])
        assert line.line == "M0.0 26.0L100.0 2.0"
        assert line.area.endswith("V28H0Z")

    @given(st.lists(numbers, max_size=40))
    def test_it_is_a_path(self, values: list[Decimal]) -> None:
        assert sparkline(values).line.startswith("M0")
