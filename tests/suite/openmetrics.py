"""Reads a page in OpenMetrics as the Prometheus project's own library does, which is strict.

Page on stdin; on stdout JSON: of each family its type, unit and samples, their values as text (JSON has no infinity). What is wrong ends it with an error.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    samples = [[sample.name, sample.labels, str(sample.value)] for sample in family.samples]
    assert family.documentation and all(sample.timestamp is None for sample in family.samples), family
    families[family.name] = {"type": family.type, "unit": family.unit, "samples": samples}
json.dump(families, sys.stdout)
