"""Messages to begin with, for whoever tries an interface; the patient is nobody.

Lines end with LF; what stands in curly brackets is filled in (`santepacs.hl7.desk`).
"""

_NOW = "{now}"
_TIMING = f"^^^{_NOW}^^R"


def _segment(name: str, fields: dict[int, str]) -> str:
    return "|".join((name, *(fields.get(n, "") for n in range(1, max(fields) + 1)))) + "\n"


def _header(message_type: str, version: str = "2.3.1") -> str:
    return (
        "MSH|^~\\&|{application}|{facility}|RECEIVER|FACILITY|{now}||"
        f"{message_type}|{{control_id}}|P|{version}||||||UNICODE UTF-8\n"
    )


def _patient(name: str = "Doe^Jane") -> str:
    return _segment("PID", {1: "1", 3: "DEMO-1001", 5: name, 7: "19700131", 8: "F"})


def _order(control: str, status: str, procedure: str) -> str:
    order = {1: control, 2: "DEMO-A1", 5: status, 7: _TIMING, 9: _NOW, 15: _NOW}
    request = {
        1: "1", 2: "DEMO-A1", 4: procedure, 16: "Roe^Richard", 18: "CT", 21: "CT01", 24: "CT",
        27: _TIMING,
    }  # fmt: skip
    return (
        _header("ORM^O01")
        + _patient()
        + _segment("PV1", {1: "1", 2: "O"})
        + _segment("ORC", order)
        + _segment("OBR", request)
    )


_IMAGING_ORDER = (
    _header("OMI^O23^OMI_O23", "2.5.1")
    + _patient()
    + _segment("PV1", {1: "1", 2: "O"})
    + _segment("ORC", {1: "NW", 2: "DEMO-A2", 5: "SC"})
    + _segment("TQ1", {1: "1", 7: _NOW, 9: "R"})
    + _segment("OBR", {1: "1", 2: "DEMO-A2", 4: "MR^Knee", 16: "Roe^Richard"})
    + _segment(
        "IPC",
        {1: "DEMO-A2", 2: "RP-2", 4: "SPS-2", 5: "MR", 6: "KNEE^Knee", 7: "MR01", 9: "MR01"},
    )
)
_APPOINTMENT = (
    _header("SIU^S12", "2.5")
    + _segment("SCH", {1: "DEMO-A3", 2: "DEMO-F3", 9: "30", 10: "min", 11: f"^^30^{_NOW}^^R"})
    + _patient()
    + _segment("RGS", {1: "1", 2: "A"})
    + _segment("AIS", {1: "1", 2: "A", 3: "US^Abdomen", 4: _NOW, 7: "30", 8: "min"})
    + _segment("AIL", {1: "1", 2: "A", 3: "US01"})
)

SAMPLES = {
    "ORM: new order": _order("NW", "SC", "CT^Thorax"),
    "ORM: change of an order": _order("XO", "SC", "CT2^Thorax and abdomen"),
    "ORM: cancellation": _order("CA", "CA", "CT^Thorax"),
    "OMI: new imaging order": _IMAGING_ORDER,
    "ADT A08: patient changed": (
        _header("ADT^A08")
        + _segment("EVN", {1: "A08", 2: _NOW})
        + _patient("Doe^Janet")
        + _segment("PV1", {1: "1", 2: "O"})
    ),
    "ADT A40: patients merged": (
        _header("ADT^A40")
        + _segment("EVN", {1: "A40", 2: _NOW})
        + _patient()
        + _segment("MRG", {1: "DEMO-0999"})
    ),
    "SIU S12: appointment": _APPOINTMENT,
}
