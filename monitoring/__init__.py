"""The monitoring stack as code: scrape, rules, dashboards."""
