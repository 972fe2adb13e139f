"""Words that technologists and scanners write into descriptions, as tables of patterns.

Descriptions are free text (PS3.3 C.7.3.1), so they are read as words, in the languages of the larger
CT fleets: English, German, French, Spanish, Portuguese, Italian, Dutch. Text is folded first: upper
case, no accents, separators as blanks; `+`, `-` and `/` survive, for they carry meaning beside C.
"""

from __future__ import annotations

import re
import unicodedata


def fold(text: str) -> str:
    """Upper case, without accents, words parted by single blanks, one blank at each end."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    return f" {re.sub(r'[^A-Z0-9+/-]+', ' ', plain).strip()} "


def _words(alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Z0-9])(?:{alternatives})(?![A-Z0-9])")


LOCALIZER = _words(r"SCOUTS?|TOPO(?:GRAMM?E?)?|LOCALI[SZ]ER|SURVIEW|SCANO(?:GRAM|SCOPE)?|PILOT|SCOUT ?VIEW")
ANGIOGRAPHY = _words(
    r"CTA|ANGIO\w*|CTV|VENO(?:GRAM|GRAPHY|GRAFIA)\w*|CAROTIDS?|CAROTIS|COW|CIRCLE OF WILLIS|WILLIS|"
    r"PERFUSION\w*|PERFUSIE|PERFUSAO|CTP|VPCT|DYN(?:AMIC|EVA)?|4D|BOLUS ?(?:TRACK\w*|TIMING)?|"
    r"TEST ?BOLUS|TIMING|(?:PRE)?MONITORING|SMART ?PREP|SURE ?START|TRACKER|CB[FV]|R?CB[FV]|MTT|TTP|"
    r"TMAX|TTD|COLLATERALS?"
)
_AGENT = r"[ -]*(?:IV[ -]*)?(?:C|CE|CM|KM|CONTRAST\w*|KONTRAST\w*|CON|CONT|INJ\w*|INYECCION|PDC|MDC)"
WITHOUT_CONTRAST = _words(
    rf"(?:WITHOUT|W/O|W-O|WO|NON?|NOT|SANS|OHNE|SIN|SEM|SENZA|ZONDER|PRE|BEFORE|VOR){_AGENT}|"
    r"(?:NON?|NOT|UN)[ -]?ENHANCED|NONCON\w*|NCCT|NECT|NCHCT|NATIV\w*|PLAIN|PRECON\w*|BLANCO|"
    r"S/C|C-|-C|W/O|WO"
)
WITH_CONTRAST = _words(
    rf"(?:WITH|W|W/|AND|MIT|AVEC|CON|COM|MET|POST|NACH|APRES|APOS|DOPO|NA|AFTER){_AGENT}|"
    r"C\+|\+ ?C|\+ ?KM|KM ?\+|CE|CECT|C/C|KM|CONTRAST\w*|KONTRAST\w*|ENHANCED|IV ?\+|INJECTE\w*|GADO\w*|"
    r"ARTERIAL\w*|VENOUS|VENOSA?|PORTAL|DELAYED|POSTCON\w*|OMNIPAQUE\w*|ISOVUE\w*|ULTRAVIST\w*|"
    r"VISIPAQUE\w*|IOHEXOL|IOPAMIDOL|IODIXANOL|IOMEPROL|IOPROMIDE"
)
#: What fills Contrast/Bolus Agent when no agent was given.
NO_AGENT = _words(r"NONE?|NO|NIL|N/A|NA|NOT? GIVEN|OHNE|SANS|-|0|UNKNOWN")
BONE = _words(r"BONES?|BONY|KNOCHEN\w*|OS|OSSEUX|OSSEA|HUESOS?|OSEA|OSSO|BOT|IAC|INNER EAR|SHARP|HRCT")
PROJECTION = _words(
    r"MIP|MAX ?IP|MIN ?IP|M[IA]NIP|AVG ?IP|VRT?|VOLUME (?:RENDERED|RENDERING)|SSD|RENDERED|SUBTRACTION|"
    r"SUBTRACTED|DSA|BONE ?SUBTRACTION|PROJECTION IMAGE|SCREEN ?(?:SAVE|SHOT)"
)
OTHER_PLANE = _words(r"COR(?:ONAL\w*)?|SAG(?:ITTAL\w*)?|OBL(?:IQUE)?|KORONAR\w*|FRONTAL|CURVED|CPR")
REFORMAT = _words(r"MPR|REFORMAT\w*|REFORMATTED|AVERAGE|RESAMPLED|CSA MPR|CSAPARALLEL")
SPECTRAL = _words(
    r"VNC|IODINE\w*|MONO ?E\w*|MONOENERGETIC|\d* ?KEV|GSI|MATERIAL\w*|EFFECTIVE Z|Z ?EFF|"
    r"ELECTRON DENSITY|SBI|CALCIUM SUPPRESSION|VIRTUAL NON ?-?CONTRAST"
)
#: not the bare word: a low-dose head is a head
DOSE = _words(
    r"DOSE ?(?:REPORT|RECORD|INFO\w*|SUMMARY|PAGE|SHEET)|PATIENT PROTOCOL|RDSR|DOSIS\w*|EXAM SUMMARY"
)
HEAD = _words(
    r"HEAD|BRAIN|SKULL|CRANI\w*|CEREBR\w*|KOPF|SCHADEL\w*|SCHAEDEL\w*|CCT|HCT|NCCT|TETE|CRANE|"
    r"ENCEPHAL\w*|ENCEFAL\w*|CABEZA|CRANEO|CRANIO|TESTA|HOOFD|HERSENEN|NEURO|STROKE|STROOK|SCHEDEL"
)
#: Head CT that is not of the whole brain.
PART_OF_HEAD = _words(
    r"SINUS\w*|PNS|NNH|ORBIT\w*|FACIAL\w*|FACE|MAXILLO\w*|MANDIB\w*|DENTAL\w*|TEMPORAL\w*|PETROUS|"
    r"FELSENBEIN\w*|MASTOID\w*|SELLA|TMJ|ROCHERS?"
)
NOT_HEAD = _words(
    r"CHEST|THORA\w*|LUNGS?|ABDO\w*|PELVI\w*|BECKEN|LIVER|KIDNEYS?|HEART|CARDIAC|CORONAR(?:Y|IES)|AORTA|"
    r"(?:[CTL]|CERVICAL|THORACIC|LUMBAR)[ -]?SPINE|SPINE|WIRBEL\w*|HWS|BWS|LWS|NECK|HALS|SHOULDER|KNEE|"
    r"HIP|FOOT|ANKLE|HAND|WRIST|ELBOW|LEGS?|ARMS?|EXTREMIT\w*|COLON|WHOLEBODY|TAP|CAP|[CTL]SPINE|SSPINE|"
    r"RACHIS|COLUMNA|BREAST"
)
