"""Values as OpenMetrics text, for Prometheus and whatever else reads that; the library writes the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Gauge:
    """One metric: its samples, each with its labels. What was not seen has no sample: unknown is not zero."""

    name: str
    doc: str
    samples: tuple[tuple[Mapping[str, str], float], ...] = field(default=())


def exposition(gauges: Iterable[Gauge]) -> str:
    """Return the metrics as one document, in the order given, with its end mark."""
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric
    from prometheus_client.openmetrics.exposition import generate_latest
    from prometheus_client.registry import CollectorRegistry

    class Once:
        def collect(self) -> Iterator[Metric]:
            for gauge in gauges:
                family = GaugeMetricFamily(gauge.name, gauge.doc, labels=())
                for labels, value in gauge.samples:
                    family.add_sample(gauge.name, dict(labels), value)
                yield family

    registry = CollectorRegistry()
    registry.register(Once())
    return bytes(generate_latest(registry)).decode()
