"""What the proxy's engine makes of the torture messages, and of a call, a registration and an OPTIONS: a line each.

To be run by each Python of the proxy's image: what they print is the same, byte for byte, or one of them reads some
message as the other does not. /torture has the messages, /bench the phones.
"""

import sys
from pathlib import Path

sys.path.insert(0, "/bench")
import mix  # type: ignore[import-not-found]

from proxy.core.flow import Flow

phones = mix.Mix()
receive = phones.engine.receive


def told(data: bytes, flow: Flow, now: float) -> list[object]:
    """Have the engine receive; print what follows."""
    effects: list[object] = receive(data, flow, now)
    print(effects)
    return effects


phones.engine.receive = told
for path in sorted(Path("/torture").glob("*/*.dat")):
    print(path)
    told(path.read_bytes(), Flow("udp", mix.PROXY, mix.ALICE), phones.now)
for chain, messages in mix.CHAINS.items():
    phones.play(chain, len(messages))
