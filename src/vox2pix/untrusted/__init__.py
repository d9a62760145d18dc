"""Files that somebody else wrote: one module per format, each the only place that opens it.

No pickle is run, no codec, filter, plug-in or link of a file that is not allowed by name here; see
``docs/reliability.md``. Import from the modules: each loads its own library only.
"""
