"""Reading /metrics in a loop takes little of the daemon's time, whoever does it."""

import fakes
from twisted.internet.task import Clock

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.metrics.labels import MOST_ENDPOINTS
from openai_proxy.observe.metrics.prometheus import MOST_SERIES, PrometheusObserver
from openai_proxy.observe.metrics.scrapes import BURST_S, SHARE, Scrapes


class CostlyPage:
    """A page that takes `cost_s`, and who reads it."""

    def __init__(self, cost_s):
        self.clock = Clock()
        self.cost_s = cost_s
        self.made = 0
        self.scrapes = Scrapes(self.clock.seconds)

    def render(self, accept):
        self.made += 1
        self.clock.advance(self.cost_s)
        return "text/plain", b"page %d" % self.made

    def read(self, accept=b""):
        return self.scrapes.page(accept, self.render)[1]


def test_a_scraper_always_gets_a_new_page():
    """One reader a second, and dozens in a row of a small page."""
    page = CostlyPage(0.002)
    for number in range(1, 40):
        assert page.read() == b"page %d" % number
        page.clock.advance(0.0001)
    slow = CostlyPage(0.03)
    for number in range(1, 40):
        assert slow.read() == b"page %d" % number
        slow.clock.advance(1.0)


def test_readers_in_a_loop_share_the_last_page():
    """Whatever they ask, pages take their share of the time and no more."""
    page = CostlyPage(0.03)
    while page.clock.seconds() < 60:
        page.read()
        page.clock.advance(0.001)
    assert page.made * 0.03 <= BURST_S + SHARE * 60 + 0.03
    assert page.made > 50  # and it goes on


def test_formats_are_kept_apart():
    """A reader of one format never gets the page of the other."""
    page = CostlyPage(1.0)
    scrapes = page.scrapes
    text = scrapes.page(b"text/plain", page.render)
    assert scrapes.maybe_last(b"text/html, anything") == text
    assert scrapes.maybe_last(b"application/openmetrics-text; version=1.0.0") is None


def counted(exchanges):
    observer = PrometheusObserver(ObserverContext(reactor=Clock(), in_flight=int, open_connections={}))
    for each in exchanges:
        observer({"exchange": each})
    page = observer.render()[1].decode()
    return [line for line in page.splitlines() if line.startswith("openai_proxy_requests_total{")]


def exchange(endpoint, status, outcome=Outcome.COMPLETE, model=None):
    made = fakes.exchange(method="GET", path="/", endpoint=endpoint, status=status, model=model)
    made.outcome = outcome
    return made


def test_strangers_do_not_make_labels_of_paths():
    """6,000 requests with paths of words of the API made 6,000 counters, and a page of 31 ms."""
    words = ("chat", "edits", "files", "runs", "usage")
    odd = [f"{a}/{b}/{c}/{d}" for a in words for b in words for c in words for d in words]
    lines = counted(exchange(each, 401, Outcome.REJECTED) for each in odd * 2)
    assert lines == [
        'openai_proxy_requests_total{endpoint="other",model="none",outcome="rejected",status="401"} 1250.0'
    ]


def test_usual_endpoints_always_have_their_label():
    """Also those that were only refused; others get one with their first 2xx."""
    lines = counted(
        [
            exchange("chat/completions", 401, Outcome.REJECTED),
            exchange("evals/{id}/runs", 404),
            exchange("evals/{id}/runs", 200),
            exchange("evals/{id}/runs", 404),
        ]
    )
    assert [line.split("endpoint=")[1].split(",")[0] + line.rpartition("status=")[2] for line in lines] == [
        '"chat/completions""401"} 1.0',
        '"other""404"} 1.0',
        '"evals/{id}/runs""200"} 1.0',
        '"evals/{id}/runs""404"} 1.0',
    ]


def test_an_upstream_does_not_make_labels_without_end():
    """Whatever endpoints, models and statuses it answers."""
    lines = counted(
        exchange(f"files/{number % 300}", 200 + number % 90, model=f"m{number % 150}")
        for number in range(30_000)
    )
    assert len(lines) <= MOST_SERIES + 20
    assert len({line.split("endpoint=")[1].split(",")[0] for line in lines}) <= MOST_ENDPOINTS + 1
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 30_000
