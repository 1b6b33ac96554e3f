"""See the call: a document (schema.py) of a run, of captures from elsewhere, or of a lab that runs; and what draws it.

The page, the report and the ladder in the terminal know that document and nothing else.
"""
