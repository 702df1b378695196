"""``embedder tables``: the history of the tables, and what an operator does to them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from embedder_assets.cli import display
from embedder_assets.cli.group import distinct
from embedder_assets.errors import unknown_collection
from embedder_assets.sanitize import plain
from embedder_assets.settings import load_settings
from embedder_assets.tables.store import TableStore
from embedder_assets.terminal import say, say_json

BYTES_PER_MB = 1_000_000


@click.group()
def tables() -> None:
    """Show the tables' history, restore an earlier version, keep them in shape."""


@tables.command()
@click.argument("names", nargs=-1, metavar="[TABLE]...", callback=distinct)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Versions of each table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def history(names: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Show the versions of every table (or those named), the newest first."""
    from embedder_assets.tables.history import versions

    found = list(versions(TableStore.of(load_settings()), names, limit))
    if as_json:
        say_json(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=2, default=str))
    else:
        display.show_versions(found)


@tables.command()
@click.argument("table")
@click.option("--version", type=click.IntRange(0), help="The version, as `embedder tables history` shows it.")
@click.option("--at", metavar="TIME", type=click.DateTime(), help="The newest version of that time (UTC).")
@click.option("--collection", metavar="NAME", help="Only the rows of this collection.")
def restore(table: str, version: int | None, at: datetime | None, collection: str | None) -> None:
    """Make an earlier version of TABLE the newest one."""
    from embedder_assets.drop_collection import collections_with_rows
    from embedder_assets.tables.history import restore

    if (version is None) == (at is None):
        raise click.UsageError("name either --version or --at")
    target = version if version is not None else at.replace(tzinfo=UTC)  # type: ignore[union-attr]
    store = TableStore.of(load_settings())
    number = restore(store, table, target, collection, locks=collections_with_rows(store))
    if number is None:
        say(f"{table} is at that version already: it is the newest one. Nothing was changed.")
        return
    say(f"{table}{f' of {collection}' if collection else ''} is as of version {number} again.")
    say("The next run updates it to the corpus and the models of that time, and computes only what it lacks.")


@tables.command()
@click.argument("collection")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(collection: str, yes: bool) -> None:
    """Remove COLLECTION from all tables and exports, after its folder is gone."""
    from embedder_assets.drop_collection import drop_collection, rows_of
    from embedder_assets.export.export import export_folder
    from embedder_assets.export.s3_delivery import S3Delivery
    from embedder_assets.run import forget_collection

    settings = load_settings()
    store = TableStore.of(settings)
    listed = ", ".join(f"{count} of {table}" for table, count in rows_of(store, collection).items())
    if not yes:
        click.confirm(plain(f"Remove the rows of collection '{collection}' ({listed})?"), abort=True)
    if settings.exports_url:
        S3Delivery(settings.exports_url).delete(export_folder(settings.home, collection).name)
    drop_collection(store, collection)
    forget_collection(settings, collection)
    say(f"removed: {listed}; `embedder tables restore` can restore them for {settings.history_days:g} days")


@tables.command()
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...", callback=distinct)
def fields(collections: tuple[str, ...]) -> None:
    """Show the fields of the documents' metadata, of all collections or those named."""
    store = TableStore.of(load_settings())
    known = store.collections("documents")
    for name in collections:
        if name not in known:
            raise unknown_collection(name, known)
    display.show_fields(store, collections or known)


@tables.command()
def maintain() -> None:
    """Compact the tables, and forget versions older than EMBEDDER_HISTORY_DAYS."""
    from embedder_assets.retrieval.consistent_view import needed_versions
    from embedder_assets.tables.maintenance import maintain

    settings = load_settings()
    store = TableStore.of(settings)
    for done in maintain(store, settings.history_days, needed=lambda: needed_versions(store)):
        removed = "" if done.bytes_removed is None else f", {done.bytes_removed / BYTES_PER_MB:.1f} MB"
        say(
            f"{done.table}: {done.files_before} files, now {done.files_after}; {done.files_removed} of earlier "
            f"versions removed{removed}"
        )
