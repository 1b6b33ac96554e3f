"""The judge: taps, decoding by tshark, the story of a call, and the verdict that is read on the wire.

It shares no code with the proxy: the judge is not the accused.
"""
