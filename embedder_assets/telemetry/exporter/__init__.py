"""The metrics endpoint: instruments fed by stage records, gauges of the present state, the push gateway."""
