"""A sweep as one document: figures, ranking, curves, failures, the sweep file, how to repeat it.

`read_report` makes a `Report` of what keeps the sweep; `html_page`, `markdown`, `runs_csv` and
`runs_parquet` write it down, purely; `outputs` brings that to files. Notebooks use the same:
docs/report.md.
"""
