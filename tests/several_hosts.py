"""The service spread over hosts of its own: receivers, workers, pages, database and object store."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]
from sqlalchemy import make_url

from ich_triage.dicom.requestor import in_step
from ich_triage.domain.states import StudyState
from ich_triage.errors import UnknownStudyError
from ich_triage.store import workers
from ich_triage.store.database import Database
from tests.forks import Fork, Forks
from tests.heads import tiny_head
from tests.hosts import Lan, relay
from tests.object_store import ObjectStore
from tests.pacs import Pacs, counting_pacs
from tests.service import Json, destination, study, write_config

#: two that receive, two that analyse or show, one with database and store; scanner and PACS
HOSTS = ("first", "second", "analysis", "spare", "data", "scanner")
PORT, WEB_PORT = 11112, 8080
#: as in `tests.service`, s
DEAD_AFTER_S = 2.0


def halves(uid: str) -> tuple[list[Dataset], list[Dataset]]:
    """A study in two parts."""
    images = tiny_head(study=uid, clot=True)
    return images[:7], images[7:]


class Site:
    """The service on `HOSTS`, over PostgreSQL and an object store."""

    def __init__(
        self,
        network: Lan,
        folder: Path,
        database: Database,
        forks: Forks,
        *,
        dead_after_s: float = DEAD_AFTER_S,
    ) -> None:
        self.network, self.database, self._forks, self._folder = network, database, forks, folder
        self._dead_after_s = dead_after_s
        url = make_url(database.url)
        self._door = network.on("data", lambda: socket.create_server((network.address("data"), 5432)))
        relay(self._door, f"{url.query['host']}/.s.PGSQL.5432")
        within = ("ip", "netns", "exec", network.at("data"))
        self.store = ObjectStore(folder, host=network.address("data"), within=within)
        self._url = url.set(host=network.address("data"), port=5432, query={})
        self._ending = ExitStack()
        pacs = counting_pacs(host=network.address("scanner"))
        self.pacs: Pacs = network.on("scanner", lambda: self._ending.enter_context(pacs))

    def start(self, role: str, host: str, **options: str) -> Fork:
        """`ich-triage receiver`, `worker` or `web`, on that host, with a disk of its own."""
        folder = self._folder / host
        folder.mkdir()
        spool = {key: str(value) for key, value in self.store.settings(folder).items()} | {"reserve_bytes": 0}
        config = write_config(
            folder,
            database_url=self._url.render_as_string(hide_password=False) + "?connect_timeout=2",
            port=PORT,
            dicom={"host": self.network.address(host)},
            spool=spool,
            assembly={"quiet_s": 10.0},
            worker={"dead_after_s": self._dead_after_s, "heartbeat_s": self._dead_after_s / 5},
            web={
                "host": self.network.address(host),
                "port": WEB_PORT,
                "trusted_proxies": [self.network.address("scanner")],
            },
            destinations=[destination("pacs", self.pacs.peer)],
        )
        log = folder / "log"
        log.touch()
        where = {"config": str(config), "host": self.network.at(host)}
        return self._forks.start(role, log, **where, **options)

    def send(self, host: str, images: Sequence[Dataset]) -> list[int]:
        """From the scanner to one receiver; statuses, fewer where its host does not answer any more."""
        return self.network.on("scanner", lambda: self._send(host, images))

    def _send(self, host: str, images: Sequence[Dataset]) -> list[int]:
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(CTImageStorage)
        ae.connection_timeout = 3  # of a host cut off; one that answers may be busy for longer
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 15
        association = ae.associate(self.network.address(host), PORT, ae_title="ICH_TRIAGE")
        told: list[int] = []
        with in_step(association):
            for each in images:
                if not association.is_established:
                    break
                if (status := association.send_c_store(each).get("Status")) is not None:
                    told.append(status)
        return told

    def listens(self, host: str) -> bool:
        """Whether the receiver of that host can be reached by the scanner."""

        def look() -> bool:
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex((self.network.address(host), PORT)) == 0

        return self.network.on("scanner", look)

    def result(self, uid: str) -> Json:
        """What is known of a study."""
        return study(self.database, uid)

    def is_flagged(self, uid: str) -> bool:
        """Whether it has come to that."""
        with suppress(UnknownStudyError):
            return bool(self.result(uid)["state"] == StudyState.FLAGGED)
        return False

    def has_begun(self, uid: str) -> bool:
        """Whether the analysis of a study has."""
        with suppress(UnknownStudyError):
            return self.result(uid)["ledger"].get("started") is not None
        return False

    def ask(self, host: str, path: str, token: str) -> httpx.Response:
        """What the pages of a host answer to a program at the scanner's."""
        url = f"http://{self.network.address(host)}:{WEB_PORT}{path}"
        headers = {"authorization": f"Bearer {token}"}
        return self.network.on("scanner", lambda: httpx.get(url, headers=headers, timeout=30))

    def workers(self) -> int:
        """How many live."""
        with self.database.read() as session:
            return len(workers.living(session, dead_after_s=self._dead_after_s))

    def close(self) -> None:
        """The forks end by themselves."""
        self._ending.close()
        self._door.close()
        self.store.stop()
