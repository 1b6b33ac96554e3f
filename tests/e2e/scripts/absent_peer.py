"""Run in a phone's container: `ADDRESS` has SIPp call where nobody listens; prints counts and seconds."""

import os
import sys
import time
from pathlib import Path

from sipp_scenarios import sipp

os.environ["PROXY_IP"] = sys.argv[1]
sipp.PORT = 5091  # the phone itself waits on 5060
started = time.monotonic()
arguments = ["-m", "1", "-d", "100", "-key", "me", "bob", "-key", "peer", "nobody"]
counts = sipp.Sipp("uac_call", Path("/tmp/absent"), "absent", arguments).wait(60)
print(counts.successful, counts.failed, time.monotonic() - started)
