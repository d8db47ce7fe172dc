"""Settings and a sweep file to Kubernetes objects; pure."""

from sweepctl.manifest.names import CHART as CHART
from sweepctl.manifest.names import CONTAINER as CONTAINER
from sweepctl.manifest.names import FIELD_MANAGER as FIELD_MANAGER
from sweepctl.manifest.names import GENERATION_ANNOTATION as GENERATION_ANNOTATION
from sweepctl.manifest.names import INSTANCE_LABEL as INSTANCE_LABEL
from sweepctl.manifest.names import KUEUE_ELASTIC_ANNOTATION as KUEUE_ELASTIC_ANNOTATION
from sweepctl.manifest.names import KUEUE_QUEUE_LABEL as KUEUE_QUEUE_LABEL
from sweepctl.manifest.names import MANAGER_LABEL as MANAGER_LABEL
from sweepctl.manifest.names import MAX_NAME as MAX_NAME
from sweepctl.manifest.names import NAME_LABEL as NAME_LABEL
from sweepctl.manifest.names import SWEEP_ANNOTATION as SWEEP_ANNOTATION
from sweepctl.manifest.names import check_name as check_name
from sweepctl.manifest.names import default_name as default_name
from sweepctl.manifest.names import image as image
from sweepctl.manifest.names import is_name as is_name
from sweepctl.manifest.names import job_hash as job_hash
from sweepctl.manifest.names import labels as labels
from sweepctl.manifest.names import selector as selector
from sweepctl.manifest.names import selector_text as selector_text
from sweepctl.manifest.names import sweep_config_name as sweep_config_name
from sweepctl.manifest.plan import SWEEP_FOLDER as SWEEP_FOLDER
from sweepctl.manifest.plan import JobPlan as JobPlan
from sweepctl.manifest.plan import plan_job as plan_job
from sweepctl.manifest.plan import render as render
from sweepctl.manifest.quantities import agent_resources as agent_resources
