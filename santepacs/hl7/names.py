"""What segments, fields and components are called (HL7 v2 ch. 2 to 10, IHE RAD for ZDS and IPC).

Names for people who look at a message; nothing is decided by them. Fields stand in their order,
separated by `;`, and where the parts of a field have names, its data type follows in brackets.
"""

import re
from functools import cache

_SEGMENTS = {
    "MSH": (
        "Message header",
        "Field separator; Encoding characters; Sending application [HD]; Sending facility [HD];"
        " Receiving application [HD]; Receiving facility [HD]; Date/time of message [TS]; Security;"
        " Message type [MSG]; Message control ID; Processing ID [PT]; Version ID [VID];"
        " Sequence number; Continuation pointer; Accept acknowledgement type;"
        " Application acknowledgement type; Country code; Character set;"
        " Principal language of message [CE]; Alternate character set handling scheme;"
        " Message profile identifier [EI]",
    ),
    "MSA": (
        "Message acknowledgement",
        "Acknowledgement code; Message control ID; Text message; Expected sequence number;"
        " Delayed acknowledgement type; Error condition [CE]",
    ),
    "ERR": (
        "Error",
        "Error code and location; Error location [ERL]; HL7 error code [CE]; Severity;"
        " Application error code [CE]; Application error parameter; Diagnostic information;"
        " User message",
    ),
    "EVN": (
        "Event type",
        "Event type code; Recorded date/time [TS]; Date/time planned event [TS];"
        " Event reason code; Operator ID [XCN]; Event occurred [TS]; Event facility [HD]",
    ),
    "PID": (
        "Patient identification",
        "Set ID; Patient ID (external) [CX]; Patient identifier list [CX];"
        " Alternate patient ID [CX]; Patient name [XPN]; Mother's maiden name [XPN];"
        " Date/time of birth [TS]; Administrative sex; Patient alias [XPN]; Race [CE];"
        " Patient address [XAD]; County code; Phone number, home [XTN];"
        " Phone number, business [XTN]; Primary language [CE]; Marital status [CE]; Religion [CE];"
        " Patient account number [CX]; SSN number; Driver's licence number;"
        " Mother's identifier [CX]; Ethnic group [CE]; Birth place; Multiple birth indicator;"
        " Birth order; Citizenship [CE]; Veterans military status [CE]; Nationality [CE];"
        " Patient death date and time [TS]; Patient death indicator; Identity unknown indicator;"
        " Identity reliability code; Last update date/time [TS]; Last update facility [HD];"
        " Species code [CE]; Breed code [CE]; Strain; Production class code [CE];"
        " Tribal citizenship [CE]",
    ),
    "PD1": (
        "Patient, additional",
        "Living dependency; Living arrangement; Patient primary facility [XON];"
        " Patient primary care provider [XCN]; Student indicator; Handicap; Living will code;"
        " Organ donor code; Separate bill; Duplicate patient [CX]; Publicity code [CE];"
        " Protection indicator; Protection indicator effective date",
    ),
    "NK1": (
        "Next of kin",
        "Set ID; Name [XPN]; Relationship [CE]; Address [XAD]; Phone number [XTN];"
        " Business phone number [XTN]; Contact role [CE]; Start date; End date",
    ),
    "MRG": (
        "Merge: the prior patient",
        "Prior patient identifier list [CX]; Prior alternate patient ID [CX];"
        " Prior patient account number [CX]; Prior patient ID [CX]; Prior visit number [CX];"
        " Prior alternate visit ID [CX]; Prior patient name [XPN]",
    ),
    "PV1": (
        "Patient visit",
        "Set ID; Patient class; Assigned patient location [PL]; Admission type;"
        " Preadmit number [CX]; Prior patient location [PL]; Attending doctor [XCN];"
        " Referring doctor [XCN]; Consulting doctor [XCN]; Hospital service;"
        " Temporary location [PL]; Preadmit test indicator; Readmission indicator; Admit source;"
        " Ambulatory status; VIP indicator; Admitting doctor [XCN]; Patient type;"
        " Visit number [CX]; Financial class; Charge price indicator; Courtesy code;"
        " Credit rating; Contract code; Contract effective date; Contract amount;"
        " Contract period; Interest code; Transfer to bad debt code; Transfer to bad debt date;"
        " Bad debt agency code; Bad debt transfer amount; Bad debt recovery amount;"
        " Delete account indicator; Delete account date; Discharge disposition;"
        " Discharged to location; Diet type; Servicing facility; Bed status; Account status;"
        " Pending location [PL]; Prior temporary location [PL]; Admit date/time [TS];"
        " Discharge date/time [TS]; Current patient balance; Total charges; Total adjustments;"
        " Total payments; Alternate visit ID [CX]; Visit indicator;"
        " Other healthcare provider [XCN]",
    ),
    "PV2": (
        "Patient visit, additional",
        "Prior pending location [PL]; Accommodation code [CE]; Admit reason [CE];"
        " Transfer reason [CE]; Patient valuables; Patient valuables location; Visit user code;"
        " Expected admit date/time [TS]; Expected discharge date/time [TS]",
    ),
    "AL1": (
        "Allergy",
        "Set ID; Allergen type [CE]; Allergen [CE]; Severity; Reaction; Identification date",
    ),
    "DG1": (
        "Diagnosis",
        "Set ID; Coding method; Diagnosis code [CE]; Description; Date/time [TS]; Type;"
        " Major diagnostic category [CE]",
    ),
    "GT1": (
        "Guarantor",
        "Set ID; Guarantor number [CX]; Name [XPN]; Spouse name [XPN]; Address [XAD];"
        " Phone number, home [XTN]",
    ),
    "IN1": (
        "Insurance",
        "Set ID; Plan ID [CE]; Company ID [CX]; Company name [XON]; Company address [XAD];"
        " Contact person [XPN]; Phone number [XTN]; Group number; Group name [XON]",
    ),
    "ORC": (
        "Common order",
        "Order control; Placer order number [EI]; Filler order number [EI];"
        " Placer group number [EI]; Order status; Response flag; Quantity/timing [TQ];"
        " Parent order [EIP]; Date/time of transaction [TS]; Entered by [XCN]; Verified by [XCN];"
        " Ordering provider [XCN]; Enterer's location [PL]; Call back phone number [XTN];"
        " Order effective date/time [TS]; Order control code reason [CE];"
        " Entering organization [CE]; Entering device [CE]; Action by [XCN];"
        " Advanced beneficiary notice code [CE]; Ordering facility name [XON];"
        " Ordering facility address [XAD]; Ordering facility phone number [XTN];"
        " Ordering provider address [XAD]; Order status modifier [CE];"
        " Advanced beneficiary notice override reason [CE]; Filler's expected availability [TS];"
        " Confidentiality code [CE]; Order type [CE]; Enterer authorization mode [CE];"
        " Parent universal service identifier [CE]",
    ),
    "OBR": (
        "Observation request",
        "Set ID; Placer order number [EI]; Filler order number [EI];"
        " Universal service identifier [CE]; Priority; Requested date/time [TS];"
        " Observation date/time [TS]; Observation end date/time [TS]; Collection volume;"
        " Collector identifier [XCN]; Specimen action code; Danger code [CE];"
        " Relevant clinical information; Specimen received date/time [TS]; Specimen source;"
        " Ordering provider [XCN]; Order call-back phone number [XTN]; Placer field 1;"
        " Placer field 2; Filler field 1; Filler field 2; Results report/status change [TS];"
        " Charge to practice; Diagnostic service section ID; Result status; Parent result;"
        " Quantity/timing [TQ]; Result copies to [XCN]; Parent; Transportation mode;"
        " Reason for study [CE]; Principal result interpreter [NDL];"
        " Assistant result interpreter [NDL]; Technician [NDL]; Transcriptionist [NDL];"
        " Scheduled date/time [TS]; Number of sample containers;"
        " Transport logistics of sample [CE]; Collector's comment [CE];"
        " Transport arrangement responsibility [CE]; Transport arranged; Escort required;"
        " Planned patient transport comment [CE]; Procedure code [CE];"
        " Procedure code modifier [CE]; Placer supplemental service information [CE];"
        " Filler supplemental service information [CE]",
    ),
    "OBX": (
        "Observation",
        "Set ID; Value type; Observation identifier [CE]; Observation sub-ID; Observation value;"
        " Units [CE]; References range; Abnormal flags; Probability; Nature of abnormal test;"
        " Observation result status; Effective date of reference range; User defined access checks;"
        " Date/time of the observation [TS]; Producer's ID [CE]; Responsible observer [XCN];"
        " Observation method [CE]",
    ),
    "NTE": ("Notes", "Set ID; Source of comment; Comment; Comment type [CE]"),
    "TQ1": (
        "Timing",
        "Set ID; Quantity [CQ]; Repeat pattern; Explicit time; Relative time and units;"
        " Service duration; Start date/time [TS]; End date/time [TS]; Priority [CE];"
        " Condition text; Text instruction; Conjunction; Occurrence duration; Total occurrences",
    ),
    "TQ2": ("Timing relationship", "Set ID; Sequence/results flag; Related placer number [EI]"),
    "ZDS": ("Study (IHE)", "Study Instance UID [RP]"),
    "IPC": (
        "Imaging procedure control",
        "Accession identifier [EI]; Requested procedure ID [EI]; Study Instance UID [EI];"
        " Scheduled procedure step ID [EI]; Modality [CE]; Protocol code [CE];"
        " Scheduled station name [EI]; Scheduled procedure step location [CE];"
        " Scheduled station AE title",
    ),
    "SCH": (
        "Appointment",
        "Placer appointment ID [EI]; Filler appointment ID [EI]; Occurrence number;"
        " Placer group number [EI]; Schedule ID [CE]; Event reason [CE]; Appointment reason [CE];"
        " Appointment type [CE]; Appointment duration; Appointment duration units [CE];"
        " Appointment timing [TQ]; Placer contact person [XCN]; Placer contact phone number [XTN];"
        " Placer contact address [XAD]; Placer contact location [PL]; Filler contact person [XCN];"
        " Filler contact phone number [XTN]; Filler contact address [XAD];"
        " Filler contact location [PL]; Entered by person [XCN]; Entered by phone number [XTN];"
        " Entered by location [PL]; Parent placer appointment ID [EI];"
        " Parent filler appointment ID [EI]; Filler status code [CE]; Placer order number [EI];"
        " Filler order number [EI]",
    ),
    "RGS": ("Resource group", "Set ID; Segment action code; Resource group ID [CE]"),
    "AIS": (
        "Appointment: service",
        "Set ID; Segment action code; Universal service identifier [CE]; Start date/time [TS];"
        " Start date/time offset; Start date/time offset units [CE]; Duration;"
        " Duration units [CE]; Allow substitution code; Filler status code [CE];"
        " Placer supplemental service information [CE];"
        " Filler supplemental service information [CE]",
    ),
    "AIG": (
        "Appointment: resource",
        "Set ID; Segment action code; Resource ID [CE]; Resource type [CE]; Resource group [CE];"
        " Resource quantity; Resource quantity units [CE]; Start date/time [TS];"
        " Start date/time offset; Start date/time offset units [CE]; Duration;"
        " Duration units [CE]; Allow substitution code; Filler status code [CE]",
    ),
    "AIL": (
        "Appointment: location",
        "Set ID; Segment action code; Location resource ID [PL]; Location type [CE];"
        " Location group [CE]; Start date/time [TS]; Start date/time offset;"
        " Start date/time offset units [CE]; Duration; Duration units [CE];"
        " Allow substitution code; Filler status code [CE]",
    ),
    "AIP": (
        "Appointment: person",
        "Set ID; Segment action code; Personnel resource ID [XCN]; Resource type [CE];"
        " Resource group [CE]; Start date/time [TS]; Start date/time offset;"
        " Start date/time offset units [CE]; Duration; Duration units [CE];"
        " Allow substitution code; Filler status code [CE]",
    ),
    "FHS": ("File header", ""),
    "BHS": ("Batch header", ""),
}
_TYPES = {
    "CE": "Identifier; Text; Coding system; Alternate identifier; Alternate text;"
    " Alternate coding system",
    "CQ": "Quantity; Units",
    "CX": "ID; Check digit; Check digit scheme; Assigning authority; Identifier type;"
    " Assigning facility",
    "EI": "Identifier; Namespace ID; Universal ID; Universal ID type",
    "EIP": "Placer number; Filler number",
    "ERL": "Segment; Segment number; Field; Repetition; Component; Subcomponent",
    "HD": "Namespace ID; Universal ID; Universal ID type",
    "MSG": "Message code; Trigger event; Message structure",
    "NDL": "Name; Start date/time; End date/time; Point of care; Room; Bed; Facility",
    "PL": "Point of care; Room; Bed; Facility; Location status; Person location type; Building;"
    " Floor",
    "PT": "Processing ID; Processing mode",
    "RP": "UID; Application ID; Type of data; Subtype",
    "TQ": "Quantity; Interval; Duration; Start date/time; End date/time; Priority; Condition;"
    " Text; Conjunction",
    "TS": "Time; Degree of precision",
    "VID": "Version; Internationalization code",
    "XAD": "Street; Other designation; City; State; Postal code; Country; Address type",
    "XCN": "ID; Family name; Given name; Middle name; Suffix; Prefix; Degree; Source table;"
    " Assigning authority",
    "XON": "Organization name; Name type; ID",
    "XPN": "Family name; Given name; Middle name; Suffix; Prefix; Degree; Name type",
    "XTN": "Number; Use; Equipment type; E-mail; Country code; Area code; Local number",
}
_FIELD = re.compile(r"(?P<name>.*?)(?: \[(?P<type>[A-Z]+)\])?")


def segment_title(segment: str) -> str:
    """What the segment is for; empty for one that is not known."""
    return _SEGMENTS.get(segment, ("", ""))[0]


def field_name(segment: str, number: int) -> str:
    """The field's name; empty for one that is not known. MSH-1 is the separator itself."""
    fields = _fields(segment)
    return fields[number - 1][0] if 0 < number <= len(fields) else ""


def component_name(segment: str, number: int, component: int) -> str:
    """The component's name; empty where its data type is not known to have one."""
    fields = _fields(segment)
    if not 0 < number <= len(fields):
        return ""
    parts = _TYPES.get(fields[number - 1][1], "").split(";")
    return parts[component - 1].strip() if 0 < component <= len(parts) else ""


@cache
def _fields(segment: str) -> list[tuple[str, str]]:
    found = (
        _FIELD.fullmatch(text.strip()) for text in _SEGMENTS.get(segment, ("", ""))[1].split(";")
    )
    return [(match["name"], match["type"] or "") for match in found if match and match["name"]]
