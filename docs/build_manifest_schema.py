"""Writes the JSON Schema of the manifest from its models: ``python docs/build_manifest_schema.py``."""

from __future__ import annotations

from pathlib import Path

from embedder_assets.telemetry.manifest.json_schema import SCHEMA_FILE, json_schema

TARGET = Path(__file__).parent.parent / SCHEMA_FILE

if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json_schema(), "utf-8")
