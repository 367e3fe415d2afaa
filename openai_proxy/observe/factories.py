"""The built-in observer factories, and how specs become observers.

Light to import: `twistd --help` loads the plugins, so each observer's own
module is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import field, frozen
from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer

from .interfaces import IObserverFactory, Observer, ObserverContext, ObserverOptions
from .lines.record import LEGEND
from .spec import ObserverSpec, parse_spec

NONE = "none"
ALWAYS_ON = "prometheus"
CONSOLE = "console"


@implementer(IPlugin, IObserverFactory)
@frozen
class Factory:
    """A factory from a function."""

    name: str
    help: str
    _build: Callable[[ObserverOptions], Observer] = field(repr=False)

    def build(self, options: ObserverOptions) -> Observer:
        return self._build(options)


def _console(options: ObserverOptions) -> Observer:
    from .lines.console import LineObserver, console_line, console_line_without_address

    options.no_positional()
    options.parameters()
    return LineObserver(console_line if options.context.client_address else console_line_without_address)


def _json(options: ObserverOptions) -> Observer:
    from .lines.console import LineObserver
    from .lines.json_lines import JSONFileObserver, json_text, json_text_without_address
    from .paths import check_file

    path = options.parameters("file").get("file")
    if path is not None and not options.spec.args:
        return JSONFileObserver(check_file(path), with_address=options.context.client_address)
    if path is None and options.spec.args == ("-",):
        return LineObserver(json_text if options.context.client_address else json_text_without_address)
    raise ValueError("write json:- for standard output, or json:file=PATH")


def _log(options: ObserverOptions) -> Observer:
    from .lines.text_log import TextLogObserver

    options.no_positional()
    options.parameters()
    return TextLogObserver(with_address=options.context.client_address)


def _prometheus(options: ObserverOptions) -> Observer:
    from .metrics.prometheus import PrometheusObserver

    options.no_positional()
    options.parameters()
    return PrometheusObserver(options.context)


def _exchange_log(options: ObserverOptions) -> Observer:
    from .exchange_log.options import build

    return build(options)


def _otel(options: ObserverOptions) -> Observer:
    from .otel.options import build

    return build(options)


console = Factory(
    "console", f"console: one line of text for each exchange on standard output: {LEGEND}", _console
)
json_lines = Factory("json", "json:- or json:file=PATH: one JSON object a line, metadata only", _json)
text_log = Factory("log", "log: one line for each exchange in twistd's own log", _log)
exchange_log = Factory(
    "exchange-log",
    "exchange-log:dir=DIRECTORY[:bodies=false][:sample=0.1][:models=a,b][:keys=a,b]"
    "[:max_bytes=N][:keep_days=N][:on_full=lose|refuse]: "
    "whole requests and responses as JSON lines; url=URL[:option=value...] instead of dir for a remote store",
    _exchange_log,
)
otel = Factory(
    "otel",
    "otel[:endpoint=http://host:4318][:service_name=NAME]: OpenTelemetry traces and metrics over OTLP/HTTP",
    _otel,
)
prometheus = Factory("prometheus", "prometheus: feeds the metrics page; always on", _prometheus)


def known_factories() -> dict[str, IObserverFactory]:
    """Return every installed factory by its name."""
    return {each.name: each for each in getPlugins(IObserverFactory)}


def build_observers(
    specs: Iterable[str | ObserverSpec],
    context: ObserverContext,
    factories: dict[str, IObserverFactory] | None = None,
    running: Iterable[Observer] = (),
) -> list[Observer]:
    """Build the observers that `specs` name, each once.

    `none` drops those named before it. If none of them shows every
    exchange in the log or on standard output, one is added that logs the
    errors of our own. ValueError, in one line, for a spec that cannot work.
    `factories` defaults to the installed plugins. The one of the `running`
    observers that counts goes on, so that a reload does not set the metrics
    back to zero.
    """
    from .lines.text_log import RefusalLogObserver

    known = known_factories() if factories is None else factories
    chosen: dict[object, ObserverSpec] = {}
    for each in specs:
        spec = parse_spec(each) if isinstance(each, str) else each
        if spec.name == NONE:
            if spec.args or spec.kwargs:
                raise ValueError("observer none takes no parameters")
            chosen.clear()
        else:
            chosen.setdefault(spec.identity, spec)
    if ALWAYS_ON in known and not any(spec.name == ALWAYS_ON for spec in chosen.values()):
        spec = ObserverSpec(ALWAYS_ON)
        chosen[spec.identity] = spec
    counting = next((each for each in running if getattr(each, "counts", False)), None)
    made = [
        counting if counting is not None and spec.name == ALWAYS_ON else _build_one(spec, context, known)
        for spec in chosen.values()
    ]
    return (
        made
        if any(map(_shows_all, chosen.values()))
        else [*made, RefusalLogObserver(with_address=context.client_address)]
    )


def with_console(specs: Iterable[str | ObserverSpec]) -> list[str | ObserverSpec]:
    """Return the specs with the console first, unless one of them shows every exchange already.

    So whatever else is recorded, the console stays on; `none` drops it.
    """
    given = list(specs)
    shown = any(_shows_all(parse_spec(each) if isinstance(each, str) else each) for each in given)
    return given if shown else [CONSOLE, *given]


def _shows_all(spec: ObserverSpec) -> bool:
    """Whether the observer shows every exchange, with its id, in the log or on standard output."""
    return spec.name in ("console", "log") or (spec.name == "json" and spec.args == ("-",))


def _build_one(spec: ObserverSpec, context: ObserverContext, known: dict[str, IObserverFactory]) -> Observer:
    factory = known.get(spec.name)
    if factory is None:
        names = ", ".join([*sorted(known), NONE])
        raise ValueError(f"unknown observer {spec.name[:40]!r}: known are {names}")
    try:
        return factory.build(ObserverOptions(spec, context))
    except (ValueError, ImportError) as error:
        raise ValueError(f"observer {spec.name}: {error}") from error
    except Exception as error:  # a stranger's plugin; what it says may be anything
        raise ValueError(f"observer {spec.name}: its plugin failed with {type(error).__name__}") from error
