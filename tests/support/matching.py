"""One truth for matching: studies, keys, and which studies they match, for Python and SQL alike."""

from santepacs.model.matching import Key

UID = "1.2.826.0.1.3680043.8.498"


def study(number, **attributes):
    """A study by DICOM keyword, with one series and one image."""
    return {
        "StudyInstanceUID": f"{UID}.{number}",
        "SeriesInstanceUID": f"{UID}.{number}.1",
        "SOPInstanceUID": f"{UID}.{number}.1.1",
        "PatientID": f"P{number}",
        "ModalitiesInStudy": (attributes.get("Modality", "CT"),),
        "Modality": "CT",
        "PatientSex": "O",
        **attributes,
    }


STUDIES = (
    study(1, PatientName="Doe^Jane", StudyDate="20260101", StudyTime="080000",
          AccessionNumber="A_1", StudyDescription="Thorax", PatientSex="F",
          ReferringPhysicianName="Yamada^Hanako=山田^花子=やまだ^はなこ"),
    study(2, PatientName="DOE^John^Q", StudyDate="20260102", StudyTime="120000.5",
          AccessionNumber="AB1", StudyDescription="thorax", PatientSex="M", Modality="MR",
          ReferringPhysicianName="Ξένου^Ζωή"),
    study(3, PatientName="Müller^Jörg", StudyDate="20260103", StudyTime="235959",
          AccessionNumber="A%1", StudyDescription="Schädel"),
    study(4, PatientName="Παπαδοπούλου^Μαρία", StudyDate="20260104", StudyTime="",
          AccessionNumber="A\\1", StudyDescription="100%_x"),
    study(5, PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyDate="", StudyTime="",
          AccessionNumber="", StudyDescription="[a-z]"),
    study(6, PatientName="Doe", StudyDate="20260102", StudyTime="120001",
          AccessionNumber="' OR 1=1--", StudyDescription="a*b?c"),
    study(7, PatientName="", StudyDate="19991231", StudyTime="000000",
          AccessionNumber="Q", StudyDescription=""),
)  # fmt: skip
EVERY = {1, 2, 3, 4, 5, 6, 7}


def key(attribute, text):
    vrs = {"PatientName": "PN", "StudyDate": "DA", "StudyTime": "TM", "PatientID": "LO"}
    vrs |= {"AccessionNumber": "SH", "StudyDescription": "LO", "StudyInstanceUID": "UI"}
    vrs |= {"ModalitiesInStudy": "CS", "PatientSex": "CS", "ReferringPhysicianName": "PN"}
    return Key(attribute, vrs[attribute], text)


def case(expected, agreed="", /, **keys):
    """Keys, what was agreed about them, and the numbers of the studies that they match."""
    options = {agreed: True} if agreed else {}
    return [key(attribute, text) for attribute, text in keys.items()], options, expected


CASES = [
    # universal
    case(EVERY, PatientName=""),
    case(EVERY, PatientName="*"),
    case(EVERY, PatientName="***"),
    case(EVERY, PatientName="*" * 10_000),
    case(EVERY, StudyDate=""),
    case(EVERY, StudyDate="-"),
    case(EVERY, StudyInstanceUID=""),
    case(EVERY, StudyInstanceUID="\\"),
    # single value: case matters everywhere but in names
    case({1}, StudyDescription="Thorax"),
    case({2}, StudyDescription="thorax"),
    case(set(), StudyDescription="THORAX"),
    case({1}, PatientID=" P1 "),
    case(set(), PatientID="p1"),
    case({1}, PatientSex="F"),
    # names: case, accents, trailing components
    case({1}, PatientName="doe^jane"),
    case({1}, PatientName="DOE^JANE^^^"),
    case({3}, PatientName="muller^jorg"),
    case({3}, PatientName="MÜLLER^JÖRG"),
    case({4}, PatientName="ΠΑΠΑΔΟΠΟΥΛΟΥ^ΜΑΡΙΑ"),
    case({6}, PatientName="doe"),
    case({1}, PatientName="DOE^J?NE*"),
    case({1, 2, 6}, PatientName="doe*"),
    case({1, 2, 6}, PatientName="DOE^*"),
    case({1, 2, 6}, PatientName="D*^*"),
    case({1, 2}, PatientName="*oe^j*"),
    case({1, 2, 6}, PatientName="*oe*"),
    case({3}, PatientName="*ülle*"),
    case({4}, PatientName="*δοπουλ*"),
    case({1, 2, 3, 4, 5, 6}, PatientName="?*"),
    case({6}, PatientName="???"),
    case({5}, PatientName="?????"),
    case({1, 2, 3, 4, 5, 6}, PatientName="*^*"),
    # names: component groups
    case({5}, PatientName="yamada*"),
    case({5}, PatientName="山田*"),
    case({5}, PatientName="山田^太郎"),
    case({5}, PatientName="やまだ^*"),
    case({5}, PatientName="=山田*"),
    case(set(), PatientName="山田*=yamada*"),
    case({5}, PatientName="yamada*=山田*"),
    case({5}, PatientName="*mada*=*=*まだ*"),
    case(set(), PatientName="doe*=山田*"),
    # the referring physician: the same
    case({2}, ReferringPhysicianName="ξενου*"),
    case({2}, ReferringPhysicianName="*νου^Ζ*"),
    case({1}, ReferringPhysicianName="yamada^hanako"),
    case({1}, ReferringPhysicianName="山田*"),
    case({1}, ReferringPhysicianName="*田^花*"),
    case({1}, ReferringPhysicianName="==やまだ*"),
    case(set(), ReferringPhysicianName="=yamada*"),
    case(set(), ReferringPhysicianName="zoi xenou"),
    # names, fuzzily: any order, any script, and still whatever is found without
    case({1}, "fuzzy", PatientName="jane doe"),
    case({1}, "fuzzy", PatientName="Jane^Doe"),
    case({1, 2, 6}, "fuzzy", PatientName="doe"),
    case({1, 2}, "fuzzy", PatientName="j* doe"),
    case(set(), "fuzzy", PatientName="jan doe"),
    case({1, 2, 6}, "fuzzy", PatientName="*oe*"),
    case({4}, "fuzzy", PatientName="maria papadopoulou"),
    case({4}, "fuzzy", PatientName="Papadopoyloy^M*"),
    case({4}, "fuzzy", PatientName="papadopo*"),
    case({4}, "fuzzy", PatientName="ΜΑΡΙΑ"),
    case({3}, "fuzzy", PatientName="joerg mueller"),
    case({5}, "fuzzy", PatientName="太郎 yamada"),
    case(set(), "fuzzy", PatientName="doe papadopoulou"),
    case({1, 2, 6}, "fuzzy", PatientName="' | 'doe':*"),
    case(set(), "fuzzy", PatientName="doe | papadopoulou"),
    case(set(), "fuzzy", PatientName="\\"),
    case({2}, "fuzzy", ReferringPhysicianName="zoi xenou"),
    case(EVERY, "fuzzy", PatientName="*"),
    case({1}, "fuzzy", PatientName="jane doe", PatientSex="F"),
    # only * and ? are wildcards
    case({1}, AccessionNumber="A_1"),
    case({3}, AccessionNumber="A%1"),
    case({1, 2, 3, 4}, AccessionNumber="A?1"),
    case({4}, StudyDescription="100%_x"),
    case({4}, StudyDescription="100%_*"),
    case({4}, StudyDescription="*%_?"),
    case({1, 2}, StudyDescription="*hora*"),
    case({3}, StudyDescription="?chädel"),
    case({3}, StudyDescription="*äde*"),
    case(set(), StudyDescription="*HORA*"),
    case({5}, StudyDescription="[a-z]"),
    case({5}, StudyDescription="[a-z]*"),
    case({6}, StudyDescription="a*b?c"),
    case(set(), PatientName="%"),
    case(set(), PatientName="_"),
    case(set(), PatientName="\\"),
    case(set(), PatientName="' OR 1=1--"),
    case(set(), PatientName="'; DROP TABLE study;--"),
    case(set(), PatientName="[a-z]"),
    case({1, 2, 3, 4, 5, 6}, PatientName="*?*"),
    case({6}, AccessionNumber="' OR 1=1--"),
    # lists
    case({1, 3}, StudyInstanceUID=f"{UID}.1\\{UID}.3"),
    case({1, 3}, StudyInstanceUID=f"{UID}.1\\\\{UID}.3\\"),
    case({2}, StudyInstanceUID=f"{UID}.2"),
    case(set(), StudyInstanceUID=f"{UID}.*"),
    case({1, 2}, AccessionNumber="A_1\\AB1"),
    case({2}, ModalitiesInStudy="MR"),
    case(EVERY, ModalitiesInStudy="CT\\MR"),
    case({2}, ModalitiesInStudy="M*"),
    case(set(), ModalitiesInStudy="mr"),
    # dates
    case({2, 6}, StudyDate="20260102"),
    case({2, 6}, StudyDate="2026.01.02"),
    case({1, 2, 6}, StudyDate="20260101-20260102"),
    case({1, 2, 6}, StudyDate="2026.01.01-2026.01.02"),
    case({1, 2, 6, 7}, StudyDate="-20260102"),
    case({3, 4}, StudyDate="20260103-"),
    case(set(), StudyDate="20260105-20260101"),
    case({1, 2, 3, 4, 6, 7}, StudyDate="19000101-99991231"),
    # times
    case({2}, StudyTime="120000"),
    case({2, 6}, StudyTime="12"),
    case({2, 6}, StudyTime="1200"),
    case({2}, StudyTime="120000.5"),
    case({2}, StudyTime="120000.500000"),
    case(set(), StudyTime="120000.4"),
    case({6}, StudyTime="12:00:01"),
    case({1, 2, 6}, StudyTime="08-12"),
    case({3}, StudyTime="12:00:02-"),
    case({7}, StudyTime="-0759"),
    # dates with times
    case({2, 6}, StudyDate="20260101-20260103", StudyTime="10-13"),
    case({2, 3, 6}, "combined", StudyDate="20260101-20260103", StudyTime="10-235959"),
    case({2}, "combined", StudyDate="20260101-20260102", StudyTime="09-120000"),
    case({3, 4}, "combined", StudyDate="20260103-", StudyTime="10-11"),
    case({1, 7}, "combined", StudyDate="-20260102", StudyTime="10-1130"),
    case({6}, "combined", StudyDate="20260102", StudyTime="120001-130000"),
    case({2, 6}, "combined", StudyTime="12-13"),
    # several keys
    case({1}, PatientName="doe*", PatientSex="F"),
    case({2}, PatientName="doe*", StudyDate="20260102", StudyTime="120000"),
]  # fmt: skip
