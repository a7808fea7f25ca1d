"""The DICOM door; the only place that knows pynetdicom."""
