"""One metrics page for several processes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from openai_proxy.workers.totals import Totals, snapshot


class Process:
    """A process with a metric of each kind."""

    def __init__(self, start=100.0):
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ["model"], registry=registry)
        self.running = Gauge("running", "Running now.", registry=registry)
        self.duration = Histogram("duration_seconds", "Time.", buckets=(1, 2), registry=registry)
        Gauge("process_start_time_seconds", "Start.", registry=registry).set(start)
        Gauge("python_info", "Python.", ["version"], registry=registry).labels("3").set(1)


def page(totals):
    content_type, body = totals.page("")
    assert content_type.startswith("text/plain")
    families = text_string_to_metric_families(body.decode())
    return {
        (each.name, *each.labels.values()): each.value
        for family in families
        for each in family.samples
        if not each.name.endswith("_created")
    }


def report(totals, *processes):
    for each in processes:
        totals.report(each, snapshot(each.registry))


def test_counters_histograms_and_gauges_are_summed():
    """A scraper sees the daemon, not the worker that it happened to reach."""
    first, second, totals = Process(), Process(), Totals()
    first.requests.labels("a").inc(2)
    second.requests.labels("a").inc(3)
    second.requests.labels("b").inc()
    first.running.set(1)
    second.running.set(4)
    first.duration.observe(0.5)
    second.duration.observe(1.5)
    report(totals, first, second)
    found = page(totals)
    assert (found["requests_total", "a"], found["requests_total", "b"]) == (5, 1)
    assert found["running",] == 5
    assert [found["duration_seconds_bucket", le] for le in ("1.0", "2.0", "+Inf")] == [1, 2, 2]
    assert (found["duration_seconds_count",], found["duration_seconds_sum",]) == (2, 2.0)


def test_what_describes_a_process_is_not_added_up():
    """The daemon started when its first process did, and runs one Python."""
    totals = Totals()
    report(totals, Process(start=100.0), Process(start=90.0))
    found = page(totals)
    assert found["process_start_time_seconds",] == 90.0
    assert found["python_info", "3"] == 1


def test_an_ended_worker_leaves_its_counters_and_takes_its_gauges():
    """What was counted stays counted; what was open is closed."""
    first, second, totals = Process(), Process(), Totals()
    for each in (first, second):
        each.requests.labels("a").inc(2)
        each.running.set(1)
        each.duration.observe(0.5)
    report(totals, first, second)
    totals.end(first)
    totals.end(second)
    found = page(totals)
    assert found["requests_total", "a"] == 4
    assert found["duration_seconds_count",] == 2
    assert ("running",) not in found


def test_a_sum_never_goes_down():
    """Not by a last bit either: a scraper would take it for a restart and count everything again."""
    parts = [0.1, 0.2, 0.3]
    processes, totals = [Process() for _ in parts], Totals()
    for process, part in zip(processes, parts, strict=True):
        process.duration.observe(part)
    report(totals, *processes)
    before = page(totals)["duration_seconds_sum",]
    for process in reversed(processes):
        totals.end(process)
        now = page(totals)["duration_seconds_sum",]
        assert now >= before
        before = now


def test_models_of_all_workers_together_are_bounded():
    """Each worker knows two hundred models; the page still shows two hundred and `other`."""
    totals = Totals()
    for worker in range(3):
        process = Process()
        for number in range(150):
            process.requests.labels(f"m{worker}-{number}").inc()
        report(totals, process)
    models = [key[1] for key in page(totals) if key[0] == "requests_total"]
    assert len(models) == 201
    assert "other" in models
    assert sum(value for key, value in page(totals).items() if key[0] == "requests_total") == 450


def test_configured_models_have_their_label_on_the_whole_page():
    """However many names each of the workers knows."""
    totals = Totals(lambda: {"house"})
    for worker in range(2):
        process = Process()
        for number in range(150):
            process.requests.labels(f"m{worker}-{number}").inc()
        process.requests.labels("house").inc()
        report(totals, process)
    assert page(totals)["requests_total", "house"] == 2


def test_a_label_that_a_worker_gave_away_is_free_again():
    """A page after months shows the models of today."""
    process, totals = Process(), Totals()
    for number in range(200):
        process.requests.labels(f"old-{number}").inc()
    report(totals, process)
    process.requests.remove("old-0")
    process.requests.labels("new").inc()
    report(totals, process)
    assert page(totals)["requests_total", "new"] == 1


def test_openmetrics_is_given_to_who_asks():
    """The format follows the Accept header, as with one process."""
    totals = Totals()
    report(totals, Process())
    content_type, body = totals.page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
