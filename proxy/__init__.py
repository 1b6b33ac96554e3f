"""A SIP proxy in the standard library alone that keeps calls alive through NATs.

The floors, each importing only what is below it: cli -> net -> core -> sip.

    sip    bytes <-> values. No state, no clock
    core   decisions. No asyncio, socket, time or random: the time and the key are arguments
    net    the only place with sockets

`config` and `log` import nothing of ours.
"""
