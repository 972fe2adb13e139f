"""A scanner that sends again whatever was not acknowledged, as scanners do."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, sleep

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from ich_triage.dicom.requestor import in_step
from ich_triage.dicom.scu import Peer

#: how long it waits before it sends again, s
_PAUSE_S = 0.1


class PatientScanner:
    """Sends a study again and again until each of its objects was acknowledged."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def send(self, datasets: Sequence[Dataset], *, limit_s: float = 120.0) -> None:
        """One association after the other, each with what is still to be acknowledged."""
        left = list(datasets)
        deadline = monotonic() + limit_s
        while left:
            if monotonic() > deadline:
                raise AssertionError(f"{len(left)} objects were not acknowledged in {limit_s} s")
            association = self._associate()
            with in_step(association):
                for ds in list(left):
                    if not association.is_established:
                        break
                    if association.send_c_store(ds).get("Status") == 0:
                        left.remove(ds)
            if left:
                sleep(_PAUSE_S)

    def _associate(self) -> Association:
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 10.0
        return ae.associate(self._peer.host, self._peer.port, ae_title=self._peer.ae_title)
