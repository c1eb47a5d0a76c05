"""How do the parts become a server? The composition root: the only package that sees everything.

Order of life: open the store, make the services, start the engine, open the doors; and backwards at the end, within the drain timeout:
close the doors, let attempts land, close the store.
"""

from ringback.app.process import run as run
