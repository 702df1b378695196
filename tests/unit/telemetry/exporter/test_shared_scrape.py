"""Scrapes at the same time share one reading, and no failure."""

import threading

import pytest

from embedder_assets.telemetry.exporter.shared_scrape import SharedScrape


def test_simultaneous_scrapes_share_one_later_reading():
    class Slow:
        readings = 0

        def collect(self):
            Slow.readings += 1
            number = Slow.readings
            inside.set()
            go.wait(10)
            yield number

    inside, go, shown = threading.Event(), threading.Event(), []
    shared = SharedScrape([Slow()])
    first = threading.Thread(target=lambda: shown.extend(shared.collect()))
    first.start()
    assert inside.wait(10)
    waiting = [threading.Thread(target=lambda: shown.extend(shared.collect())) for _ in range(20)]
    for each in waiting:
        each.start()
    go.set()
    for each in (first, *waiting):
        each.join()
    assert shown[0] == 1
    assert set(shown[1:]) <= {2, 3}
    assert Slow.readings <= 3
    assert next(shared.collect()) == Slow.readings


def test_failed_reading_is_not_reused():
    class Broken:
        outcomes = iter([ValueError("a disk that is gone"), 7])

        def collect(self):
            if isinstance(outcome := next(self.outcomes), ValueError):
                raise outcome
            return [outcome]

    shared = SharedScrape([Broken()])
    with pytest.raises(ValueError, match="gone"):
        shared.collect()
    assert list(shared.collect()) == [7]
