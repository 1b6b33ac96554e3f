"""The lab's command line on the host: one module per verb, standard library only.

labkit talks to containers through `docker` and to nothing else; whatever it does, a user could do by hand.
"""
