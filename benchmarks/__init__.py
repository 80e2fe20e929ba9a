"""How fast, beside whom: one file a question.

    python -m benchmarks                 every question, with a table, a JSON file and pictures
    python -m benchmarks small many      some of them
    python -m benchmarks --quick         the same paths in seconds; its figures mean nothing
    python -m benchmarks --page          docs/benchmarks.md from the JSON file

Every peer trains from the same weights on the same batches in a process of its own; the parent calls them
in turn (A B C A B C ...), and before a run is timed its parameters are held against PyTorch's.
"""
