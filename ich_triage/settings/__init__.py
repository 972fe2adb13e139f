"""The configuration."""

from .destinations import CharacterSet as CharacterSet
from .destinations import Destination as Destination
from .destinations import DicomDestination as DicomDestination
from .destinations import MllpDestination as MllpDestination
from .destinations import WebhookDestination as WebhookDestination
from .readers import Access as Access
from .readers import Oidc as Oidc
from .readers import Query as Query
from .readers import Subscriber as Subscriber
from .readers import Web as Web
from .readers import Worklist as Worklist
from .service import Assembly as Assembly
from .service import Database as Database
from .service import Delivery as Delivery
from .service import Device as Device
from .service import Dicom as Dicom
from .service import Log as Log
from .service import Model as Model
from .service import Spool as Spool
from .service import Worker as Worker
from .tree import CONFIG_VARIABLE as CONFIG_VARIABLE
from .tree import Settings as Settings
from .tree import load as load
from .watching import Audit as Audit
from .watching import Metrics as Metrics
