"""What `tachyon bench` is made of.

_cases      what is measured, and which ratios are taken      (a list, no code that runs)
_languages  the same of `languages`
_rounds     rounds of all of it, one after the other          -> _native, _python_pair, _programs
_native     runs tachyon-bench, the C loops
_python_pair, _worker, _links   two processes of Python and the links between them
_programs   the programs of the languages: built in a clone, run two at a time
_where      what a call from Python is made of
_result     medians, ratios: the object that --json prints    -> _stats, _bounds, _machine
_text, _chart, _plot            the same for people
"""
