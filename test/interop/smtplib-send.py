"""Python's smtplib as an independent client: does what its JSON on standard input says, prints JSON."""

import json
import smtplib
import ssl
import sys

job = json.load(sys.stdin)
message = job["message"].encode("utf-8")
result = {"refused": {}}

if job.get("protocol") == "lmtp":
    client = smtplib.LMTP("127.0.0.1", job["port"], local_hostname="client.test")
elif job.get("implicit"):
    client = smtplib.SMTP_SSL(
        "localhost", job["port"], local_hostname="client.test",
        context=ssl.create_default_context(cafile=job["ca"]), timeout=20)
else:
    client = smtplib.SMTP("localhost", job["port"], local_hostname="client.test", timeout=20)

with client:
    if "ca" in job and not job.get("implicit"):
        client.ehlo()
        client.starttls(context=ssl.create_default_context(cafile=job["ca"]))
    if "user" in job:
        client.login(job["user"], job["password"])
    client.ehlo_or_helo_if_needed()
    result["features"] = sorted(client.esmtp_features)
    try:
        if job.get("bdat"):
            # What smtplib has no method for: the message in chunks, and an empty last one.
            replies = [client.docmd("MAIL", f"FROM:<{job['from']}>")]
            replies += [client.docmd("RCPT", f"TO:<{to}>") for to in job["to"]]
            for start in range(0, len(message), job["bdat"]):
                chunk = message[start:start + job["bdat"]]
                client.sock.sendall(b"BDAT %d\r\n" % len(chunk) + chunk)
                replies.append(client.getreply())
            replies.append(client.docmd("BDAT 0 LAST"))
            result["replies"] = [f"{code} {text.decode()}" for code, text in replies]
        else:
            refused = client.sendmail(job["from"], job["to"], message, job.get("options", []))
            result["refused"] = {to: [code, text.decode()] for to, (code, text) in refused.items()}
    except smtplib.SMTPRecipientsRefused as error:
        result["refused"] = {to: [code, text.decode()] for to, (code, text) in error.recipients.items()}
    except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError) as error:
        result["error"] = str(error)

json.dump(result, sys.stdout)
