"""Reads delivery reports with Python's own email package and holds them to the RFCs; knows nothing of Posthorn.

JSON lines on standard input, each {"file": path}; for each a JSON line on standard output: what is in the report, and
`problems`, what no RFC allows (RFC 3464 section 2, RFC 6522, RFC 6533, RFC 2045). Standard library only.
"""

import base64
import email
import json
import quopri
import re
import sys
from email import policy
from email.utils import parsedate_to_datetime

POLICIES = {"default": policy.default, "SMTP": policy.SMTP, "SMTPUTF8": policy.SMTPUTF8}
ONCE = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Auto-Submitted"]
STATUS = ["message/delivery-status", "message/global-delivery-status"]
WHOLE = ["message/rfc822", "message/global"]
HEADERS = ["text/rfc822-headers", "message/global-headers"]
# RFC 3464 section 2.2 and 2.3: each at most once; those in capitals of the grammar are required.
OF_MESSAGE = ["original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date"]
OF_RECIPIENT = ["original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code",
                "last-attempt-date", "final-log-id", "will-retry-until"]
TYPED = ["reporting-mta", "dsn-gateway", "received-from-mta", "original-recipient", "final-recipient", "remote-mta",
         "diagnostic-code"]
DATES = ["arrival-date", "last-attempt-date", "will-retry-until"]
CLASS = {"failed": "5", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}


class Judge:
    def __init__(self):
        self.problems = []

    def need(self, holds, problem):
        if not holds:
            self.problems.append(problem)


def raw_parts(raw, boundary):
    """The octets of each part, taken apart by hand: the CRLF before a boundary belongs to it (RFC 2046 5.1.1)."""
    pieces = (b"\r\n" + raw.partition(b"\r\n\r\n")[2]).split(b"\r\n--" + boundary.encode())
    return [piece[2:].partition(b"\r\n\r\n") for piece in pieces[1:-1]], pieces[-1]


def honest(judge, name, encoding, octets):
    """RFC 2045 section 2.7, 2.8 and 6: what a Content-Transfer-Encoding promises."""
    judge.need(encoding in ("7bit", "8bit", "quoted-printable"), f"{name}: encoding {encoding}")
    judge.need(b"\0" not in octets, f"{name}: NUL")
    if encoding != "8bit":
        judge.need(octets.isascii(), f"{name}: {encoding}, but it has octets over 127")
    if encoding == "quoted-printable":
        judge.need(all(len(line) <= 76 for line in octets.split(b"\r\n")), f"{name}: quoted-printable line over 76")


def fields_of(judge, block, allowed, required):
    """One group of fields of a delivery-status part, names in lower case; the judge hears of bad ones."""
    found = {}
    for name, value in block:
        key = name.lower()
        judge.need(key in allowed, f"unknown field {name}")
        judge.need(key not in found, f"{name} twice")
        judge.need(value.strip() != "", f"{name} without a value")
        found[key] = value
        if key in TYPED:
            judge.need(re.fullmatch(r"[!#-'*+\-/-9=?A-Z^-~]+; ?\S.*", value), f"{name} without a type: {value}")
        if key in DATES:
            date(judge, name, value)
    for key in required:
        judge.need(key in found, f"{key} is missing")
    return found


def date(judge, name, value):
    try:
        judge.need(parsedate_to_datetime(str(value)).tzinfo is not None, f"{name} without a zone: {value}")
    except (TypeError, ValueError):
        judge.need(False, f"{name} is no date: {value}")


def judge_recipient(judge, found, status_type):
    action, status = found.get("action", ""), found.get("status", "")
    judge.need(action in CLASS, f"Action {action}")
    # RFC 3464 section 2.3.4, RFC 3463 section 2: no leading zeros.
    judge.need(re.fullmatch(r"[245](\.(0|[1-9]\d{0,2})){2}", status), f"Status {status}")
    judge.need(status[:1] == CLASS.get(action), f"Status {status} does not fit {action}")
    judge.need(action == "delayed" or "will-retry-until" not in found, "Will-Retry-Until, but it is not delayed")
    diagnostic = found.get("diagnostic-code", "")
    if diagnostic.startswith("smtp;"):
        # RFC 3464 section 9.3: the codes and text of the reply.
        judge.need(re.match(r"smtp; [245]\d\d( |$)", diagnostic), f"Diagnostic-Code {diagnostic}")
        judge.need("remote-mta" in found, "a remote reply, but no Remote-MTA")
    for name in ("original-recipient", "final-recipient"):
        kind, _, address = found.get(name, "rfc822; a").partition("; ")
        judge.need(kind.lower() in ("rfc822", "utf-8"), f"{name} of type {kind}")
        judge.need(kind.lower() == "utf-8" or address.isascii(), f"{name}: rfc822 with {address}")
        judge.need(status_type == STATUS[1] or address.isascii(), f"{name}: {address} in {status_type}")


def groups(part, octets):
    """The groups of fields as Python reads them; it knows message/delivery-status, RFC 6533's sister not yet."""
    if part.get_content_type() == STATUS[0]:
        blocks = part.get_payload()
    else:
        texts = [text for text in octets.split(b"\r\n\r\n") if text.strip()]
        blocks = [email.message_from_bytes(text + b"\r\n\r\n", policy=part.policy) for text in texts]
    return [[(name, str(value)) for name, value in block.items()] for block in blocks if block.items()]


def as_utf8(text):
    """Python leaves octets over 127 of addresses as it found them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8")


def read(raw, chosen, judge):
    report = email.message_from_bytes(raw, policy=chosen)
    for part in report.walk():
        judge.need(not part.defects, f"{part.get_content_type()}: {part.defects}")
    for name in ONCE:
        judge.need(len(report.get_all(name, [])) == 1, f"{name}: {report.get_all(name)}")
    date(judge, "Date", report["Date"])
    judge.need(report["Date"].datetime is not None, "Date")
    judge.need(re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", str(report["Message-ID"])), f"Message-ID {report['Message-ID']}")
    judge.need(str(report["MIME-Version"]) == "1.0", "MIME-Version")
    judge.need(report.get_content_type() == "multipart/report", report.get_content_type())
    judge.need(report.get_param("report-type") == "delivery-status", f"report-type {report.get_param('report-type')}")
    parts = list(report.iter_parts())
    types = [part.get_content_type() for part in parts]
    judge.need(len(parts) == 3, f"{len(parts)} parts")
    judge.need(types[0] == "text/plain" and types[1] in STATUS and types[2] in WHOLE + HEADERS, f"parts {types}")

    octets, epilogue = raw_parts(raw, report.get_boundary())
    judge.need(epilogue == b"--\r\n", f"after the last boundary {epilogue!r}")
    encodings = [str(part.get("Content-Transfer-Encoding", "7bit")) for part in parts]
    for kind, encoding, (head, _, body) in zip(types, encodings, octets):
        judge.need(head.isascii(), f"{kind}: header of the part is not ASCII")
        honest(judge, kind, encoding, body)
        # RFC 2046 section 5.2.1; RFC 6533 lets its own types be encoded, Python then reads none of them.
        judge.need(encoding != "quoted-printable" or not kind.startswith("message/"), f"{kind} is encoded")
    # RFC 2045 section 6.4: what is around has at least the encoding of what is in it.
    outer = str(report.get("Content-Transfer-Encoding", "7bit"))
    honest(judge, "the whole", outer, raw.partition(b"\r\n\r\n")[2])

    blocks = groups(parts[1], octets[1][2])
    judge.need(len(blocks) >= 2, "no group of fields for a recipient")
    message = fields_of(judge, blocks[0], OF_MESSAGE, ["reporting-mta"])
    recipients = [fields_of(judge, block, OF_RECIPIENT, ["final-recipient", "action", "status"]) for block in blocks[1:]]
    for found in recipients:
        judge_recipient(judge, found, types[1])

    original = octets[2][2]
    if encodings[2] == "quoted-printable":
        original = quopri.decodestring(original)
    if types[2] in WHOLE:
        judge.need(parts[2].get_payload(0)["Subject"] is not None, "the message in it cannot be read")
    return {
        "to": [as_utf8(address.addr_spec) for address in report["To"].addresses],
        "from": [as_utf8(address.addr_spec) for address in report["From"].addresses],
        "header": {name.lower(): as_utf8(str(report[name])) for name in report.keys()},
        "parts": types,
        "encodings": encodings,
        "text": parts[0].get_content(),
        "message": message,
        "recipients": recipients,
        "original": base64.b64encode(original).decode(),
    }


def check(raw):
    judge = Judge()
    judge.need(not re.search(rb"\r(?!\n)|(?<!\r)\n", raw), "bare CR or LF")
    judge.need(raw.endswith(b"\r\n"), "no line end at the end")
    judge.need(all(len(line) <= 998 for line in raw.split(b"\r\n")), "a line over 998 octets")
    seen = {name: read(raw, chosen, judge) for name, chosen in POLICIES.items()}
    for name, one in seen.items():
        judge.need(one == seen["default"], f"policy {name} reads it otherwise")
    return {**seen["default"], "problems": sorted(set(judge.problems))}


for line in sys.stdin:
    with open(json.loads(line)["file"], "rb") as file:
        print(json.dumps(check(file.read())))
