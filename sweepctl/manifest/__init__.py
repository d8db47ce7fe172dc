"""Settings and a sweep file to Kubernetes objects; pure."""

from sweepctl.manifest.plan import CHART as CHART
from sweepctl.manifest.plan import CONTAINER as CONTAINER
from sweepctl.manifest.plan import FIELD_MANAGER as FIELD_MANAGER
from sweepctl.manifest.plan import GENERATION_ANNOTATION as GENERATION_ANNOTATION
from sweepctl.manifest.plan import INSTANCE_LABEL as INSTANCE_LABEL
from sweepctl.manifest.plan import KUEUE_ELASTIC_ANNOTATION as KUEUE_ELASTIC_ANNOTATION
from sweepctl.manifest.plan import KUEUE_QUEUE_LABEL as KUEUE_QUEUE_LABEL
from sweepctl.manifest.plan import MANAGER_LABEL as MANAGER_LABEL
from sweepctl.manifest.plan import MAX_NAME as MAX_NAME
from sweepctl.manifest.plan import NAME_LABEL as NAME_LABEL
from sweepctl.manifest.plan import SWEEP_ANNOTATION as SWEEP_ANNOTATION
from sweepctl.manifest.plan import JobPlan as JobPlan
from sweepctl.manifest.plan import check_name as check_name
from sweepctl.manifest.plan import default_name as default_name
from sweepctl.manifest.plan import is_name as is_name
from sweepctl.manifest.plan import job_hash as job_hash
from sweepctl.manifest.plan import labels as labels
from sweepctl.manifest.plan import plan_job as plan_job
from sweepctl.manifest.plan import render as render
from sweepctl.manifest.plan import selector as selector
from sweepctl.manifest.plan import selector_text as selector_text
from sweepctl.manifest.plan import sweep_config_name as sweep_config_name
