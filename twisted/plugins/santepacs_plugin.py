"""Makes ``twistd santepacs`` known to Twisted."""

from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "santepacs",
    "santepacs.service",
    "A PACS in one program: DICOM archive, HL7 worklist, web portal and patient links.",
    "santepacs",
)
