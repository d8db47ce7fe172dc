"""The settings of a Job: values.yaml, values files, --set; checked by the chart's schema."""
