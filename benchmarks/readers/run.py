"""Which library reads a format right? Ours and others over the field cases, and one standard in two formats.

``make bench NAME=readers``. The others are in an environment of their own, .venv-readers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

from benchmarks.readers.candidates import SUFFIXES
from benchmarks.readers.cases import ASVS, CASES, FIELD_CASES, problems
from embedder_assets.corpus.extract.formats import extract
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.errors import DocumentError
from embedder_assets.settings import PROJECT_ROOT, Settings

OTHERS = PROJECT_ROOT / ".venv-readers" / "bin" / "python"
Result = dict[str, object]


def main() -> None:
    """Prints two tables: the field cases by format, and the words of the standard."""
    if not FIELD_CASES.is_dir():
        sys.exit(f"the field cases are not there: expected a folder {FIELD_CASES}, found none")
    files = [FIELD_CASES / case.file for case in CASES]
    standard = [path for path in (*ASVS.glob("*.pdf"), *ASVS.glob("docs_en/*.docx")) if path.is_file()]
    results = {"ours": _ours([*files, *standard])}
    for library, suffixes in SUFFIXES.items():
        wanted = [path for path in (*files, *standard) if path.suffix in suffixes]
        results[library] = _other(library, wanted)
    _print_cases(results)
    _print_standard(results, standard)


def _ours(paths: list[Path]) -> dict[str, Result]:
    limits = DocumentLimits.of(Settings())
    found: dict[str, Result] = {}
    for path in paths:
        data = path.read_bytes()
        try:
            for _ in range(2):
                start = time.perf_counter()
                text = extract(path.suffix, data, path.name, limits).text
                found[str(path)] = {"text": text, "ms": 1000 * (time.perf_counter() - start)}
        except DocumentError as error:
            found[str(path)] = {"error": error.explanation}
    return found


def _other(library: str, paths: list[Path]) -> dict[str, Result]:
    script = Path(__file__).with_name("candidates.py")
    ended = subprocess.run([OTHERS, script, library, *paths], capture_output=True, text=True)
    if ended.returncode:
        return {str(path): {"error": ended.stderr.strip().splitlines()[-1]} for path in paths}
    found: dict[str, Result] = json.loads(ended.stdout)
    return found


def _print_cases(results: dict[str, dict[str, Result]]) -> None:
    print("| format | reader | files right | ms per file | wrong |\n|---|---|---|---|---|")
    by_format = defaultdict(list)
    for case in CASES:
        by_format[Path(case.file).suffix].append(case)
    for suffix, cases in by_format.items():
        for library, found in results.items():
            if library != "ours" and suffix not in SUFFIXES[library]:
                continue
            wrong = {}
            for case in cases:
                result = found[str(FIELD_CASES / case.file)]
                faults = problems(case, str(result["text"])) if "text" in result else [str(result["error"])]
                if faults:
                    wrong[Path(case.file).name] = faults[0]
            took = [float(str(found[str(FIELD_CASES / case.file)].get("ms", "nan"))) for case in cases]
            words = "; ".join(f"{name} {fault}" for name, fault in wrong.items()).replace("|", "\\|")
            print(f"| {suffix} | {library} | {len(cases) - len(wrong)}/{len(cases)} | {mean(took):.1f} | {words} |")


def _print_standard(results: dict[str, dict[str, Result]], paths: list[Path]) -> None:
    """How many words of the standard's Markdown a reader finds, and how many of its own are not in there."""
    source = Counter(_words("\n".join(path.read_text("utf-8") for path in sorted((ASVS / "en").rglob("*.md")))))
    print("\n| file | reader | words found | words of its own | ms |\n|---|---|---|---|---|")
    for path in paths:
        for library, found in results.items():
            result = found.get(str(path))
            if result is None or "text" not in result:
                continue
            words = Counter(_words(str(result["text"])))
            both = (source & words).total()
            own = words.total() - both
            print(
                f"| {path.name[-30:]} | {library} | {both / source.total():.2%} | {own / words.total():.2%} "
                f"| {float(str(result['ms'])):.0f} |"
            )


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


if __name__ == "__main__":
    main()
