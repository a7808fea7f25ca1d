"""The archive: storing, finding and handing out DICOM objects, safely."""
