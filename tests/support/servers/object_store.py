"""An object store of the tests' own: SeaweedFS, which speaks S3, checks signatures and knows conditional puts."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import answers, eventually, free_ports

WEED = Path(sys.executable).parent / "weed"
KEY, SECRET = "tester", "not-to-be-shown"
# May list and read, and not write.
READER, READER_SECRET = "reader", "not-to-be-shown-either"
BUCKET = "lake"
ROLES = ("master", "volume", "filer", "s3")


@dataclass
class ObjectStore:
    """A server that can be stopped and started again, everything of it on 127.0.0.1.

    Attributes:
        folder: Its data, its sockets and its log.
        ports: HTTP and gRPC port of each of its roles.
    """

    folder: Path
    ports: dict[str, tuple[int, int]]
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3'][0]}"

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs, by AWS's own names."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def known_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sets these variables for the test's own process."""
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        config = self.folder / "s3.json"
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for key, secret, actions in (
                (KEY, SECRET, ["Read", "Write", "List"]),
                (READER, READER_SECRET, ["Read", "List"]),
            )
        ]
        config.write_text(json.dumps({"identities": identities}), "utf-8")
        ports = [
            option
            for role, (http, grpc) in self.ports.items()
            for option in (f"-{role}.port={http}", f"-{role}.port.grpc={grpc}")
        ]
        sockets = [f"-{role}.localSocket={self.folder / role}.sock" for role in ("filer", "s3")]
        others_off = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        small = ["-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0"]
        call = [str(WEED), "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}"]
        call += ["-filer", "-s3", f"-s3.config={config}", *ports, *sockets, *others_off, *small]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(call, stdout=log, stderr=log, cwd=self.folder)
        ready = eventually(lambda: answers(f"{self.endpoint}/status") and self._has_its_volumes(), 60)
        assert ready, (self.folder / "log").read_text("utf-8")[-2000:]

    def stop(self) -> None:
        """Ends it at once, as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def _has_its_volumes(self) -> bool:
        """Whether the files of before are known again: some seconds after S3 answers, the volume server tells them."""
        lookup = f"http://127.0.0.1:{self.ports['master'][0]}/dir/lookup?volumeId="
        return all(answers(lookup + file.stem.rpartition("_")[2]) for file in self.folder.glob("*.dat"))

    def make_bucket(self) -> None:
        """Next to S3, where the tests' identities may not do that."""
        self._of_filer("POST", "/")

    def delete(self, key: str) -> None:
        """Takes an object away."""
        self._of_filer("DELETE", f"/{key}")

    def _of_filer(self, method: str, path: str) -> None:
        url = f"http://127.0.0.1:{self.ports['filer'][0]}/buckets/{BUCKET}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(url, method=method), timeout=30).close()


@contextmanager
def running(folder: Path) -> Iterator[ObjectStore]:
    """A server with the bucket while the context lasts."""
    numbers = free_ports(2 * len(ROLES))
    store = ObjectStore(folder, {role: (numbers[2 * n], numbers[2 * n + 1]) for n, role in enumerate(ROLES)})
    store.start()
    try:
        store.make_bucket()
        yield store
    finally:
        store.stop()
