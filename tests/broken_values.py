"""Values files with one thing wrong: what each says, which setting is named, what is said of it.

`SCHEMA` is refused by the chart's schema, so by helm as well; in `CONTRADICTIONS` each setting is
legal by itself; `READINGS` are what YAML makes of a file.
"""

from typing import NamedTuple


class Broken(NamedTuple):
    text: str
    setting: str
    message: str
    hint: str | None = None

    @property
    def id(self) -> str:
        return self.text.replace("\n", "; ")[:70]


TEXT_QUOTED = 'write "{}" in quotes'
NO_SUCH = "there is no such setting"
KEPT = "this setting cannot be taken away"
NAME = "expected the name of an object"
SIZE = "expected a size such as 500Mi or 20Gi"
NO_KEY = "an API key is no setting: whoever may read the Job or the release could read it"
MAKE_SECRET = (
    "kubectl create secret generic {} --from-literal={}=YOUR_KEY,"
    " or sweepctl submit --create-secret"
)
QUANTITY = "expected a quantity such as 500m, 8 or 32Gi"
PATH = "expected an absolute path such as /data/assets"

SCHEMA = [
    # Misspelt, from somewhere else, or one level off.
    Broken("agent: 8", "agent", NO_SUCH, "did you mean agents?"),
    Broken("Agents: 8", "Agents", NO_SUCH, "did you mean agents?"),
    Broken("replicas: 8", "replicas", NO_SUCH, "did you mean agents?"),
    Broken("parallelism: 8", "parallelism", NO_SUCH, "did you mean agents?"),
    Broken("tag: '3'", "tag", NO_SUCH, "did you mean image.tag?"),
    Broken("queue: gpus", "queue", NO_SUCH, "did you mean kueue.queue?"),
    Broken("env: []", "env", NO_SUCH, "did you mean extraEnv?"),
    Broken("imagePullSecrets: [a]", "imagePullSecrets", NO_SUCH, "did you mean image.pullSecrets?"),
    Broken("image: {tags: '3'}", "image.tags", NO_SUCH, "did you mean tag?"),
    Broken("image: {pullpolicy: Always}", "image.pullpolicy", NO_SUCH, "did you mean pullPolicy?"),
    Broken("image: {name: me/task}", "image.name", NO_SUCH, "the settings here are repository"),
    Broken("resources: {request: {}}", "resources.request", NO_SUCH, "did you mean requests?"),
    Broken("resources: {cpu: 4}", "resources.cpu", NO_SUCH, "the settings here are requests"),
    Broken("cache: {storageclass: fast}", "cache.storageclass", NO_SUCH, "mean storageClass?"),
    Broken("runs: {home: /r}", "runs.home", NO_SUCH, "did you mean cache.home?"),
    Broken("code: {git: {url: a}}", "code.git.url", NO_SUCH, "the settings here are repository"),
    Broken("wandb: {base_url: a}", "wandb.base_url", NO_SUCH, "did you mean baseUrl?"),
    Broken("kueue: {minparallelism: 2}", "kueue.minparallelism", NO_SUCH, "minParallelism?"),
    Broken("security: {runAsuser: 5}", "security.runAsuser", NO_SUCH, "did you mean runAsUser?"),
    Broken("preflight: {GPU: auto}", "preflight.GPU", NO_SUCH, "the settings here are gpu"),
    Broken("server: {enable: true}", "server.enable", NO_SUCH, "did you mean enabled?"),
    Broken("server: {persistence: {sizes: 1Gi}}", "server.persistence.sizes", NO_SUCH, "size?"),
    Broken("proxy: {no_proxy: a}", "proxy.no_proxy", NO_SUCH, "did you mean noProxy?"),
    Broken("topologySpreadConstraints: []", "topologySpreadConstraints", NO_SUCH, "topologySpread"),
    Broken("tolerations: [{Key: a}]", "tolerations[0].Key", NO_SUCH, "did you mean key?"),
    Broken("affinity: {nodeaffinity: {}}", "affinity.nodeaffinity", NO_SUCH, "nodeAffinity?"),
    Broken("extraEnv: [{name: A, val: b}]", "extraEnv[0].val", NO_SUCH, "did you mean value?"),
    Broken(
        "extraVolumeMounts: [{name: a, mountpath: /a}]",
        "extraVolumeMounts[0].mountpath",
        NO_SUCH,
        "did you mean mountPath?",
    ),
    # Of the wrong type.
    Broken("agents: eight", "agents", "expected a whole number, found the string 'eight'"),
    Broken("agents: '8'", "agents", "expected a whole number", "write 8 without quotes"),
    Broken("agents: 1.5", "agents", "expected a whole number, found the number 1.5"),
    Broken("agents: [8]", "agents", "expected a whole number, found a list"),
    Broken("agents: true", "agents", "expected a whole number, found the truth value true"),
    Broken("suspend: 1", "suspend", "expected true or false, found the number 1"),
    Broken("suspend: 'true'", "suspend", "expected true or false, found the string 'true'"),
    Broken("image: me/task:1", "image", "expected a map", "its settings are repository, tag"),
    Broken("image: {tag: 3.0}", "image.tag", "an image's tag", TEXT_QUOTED.format("3.0")),
    Broken("image: {pullSecrets: ngc}", "image.pullSecrets", "expected a list", "write [ngc]"),
    Broken("pythonPath: /code", "pythonPath", "expected a list", "write [/code] in a file"),
    Broken("command: python", "command", "expected a list", "write [python] in a file"),
    Broken("command: [sleep, 5]", "command[1]", "expected a word", TEXT_QUOTED.format("5")),
    Broken("resources: 4", "resources", "expected a map, found the number 4"),
    Broken("resources: {limits: {cpu: 0.5}}", "resources.limits.cpu", QUANTITY, '"0.5"'),
    Broken("nodeSelector: {a: true}", "nodeSelector.a", "a label's value", '"true"'),
    Broken("nodeSelector: [a]", "nodeSelector", "expected a map of node labels to texts"),
    Broken("tolerations: {key: a}", "tolerations", "expected a list, found a map"),
    Broken("affinity: []", "affinity", "expected a map, found a list"),
    Broken("podAnnotations: {a: 1}", "podAnnotations.a", "expected a text", '"1"'),
    Broken("extraEnv: {A: b}", "extraEnv", "expected a list, found a map"),
    Broken("extraEnv: [A=b]", "extraEnv[0]", "with value or valueFrom", "its settings are name"),
    Broken("extraEnv: [{name: A, value: 1}]", "extraEnv[0].value", "expected a text", '"1"'),
    Broken("sidecars: [envoy]", "sidecars[0]", "expected a map"),
    Broken("kueue: gpus", "kueue", "expected a map", "its settings are queue"),
    Broken("sweep: [a]", "sweep", "expected a text, found a list"),
    Broken("server: true", "server", "expected a map, found the truth value true"),
    Broken("kueue: null", "kueue", KEPT, "leave it out to keep its default"),
    Broken("image: {tag: null}", "image.tag", KEPT, "leave it out to keep its default"),
    Broken("agents: null", "agents", KEPT, "leave it out to keep its default"),
    # Out of range.
    Broken("agents: 0", "agents", "a number from 1 to 5000", "write 1 or what lies between"),
    Broken("agents: -3", "agents", "expected a number from 1 to 5000, found the number -3"),
    Broken("agents: 10001", "agents", "from 1 to 5000", "write 5000 or what lies between"),
    Broken("gpus: -1", "gpus", "expected a number from 0 to 64"),
    Broken("generation: 0", "generation", "expected a number from 1"),
    Broken("graceSeconds: 1", "graceSeconds", "expected a number from 10 to 86400"),
    Broken("threads: -2", "threads", "expected a number from 0 to 1024"),
    Broken("backoffLimitPerIndex: -1", "backoffLimitPerIndex", "expected a number from 0 to 100"),
    Broken("maxInitialFailures: -1", "maxInitialFailures", "expected a number from 0"),
    Broken("maxInitialFailures: off", "maxInitialFailures", "a whole number"),
    Broken("ttlSecondsAfterFinished: -1", "ttlSecondsAfterFinished", "a number from 0"),
    Broken("security: {runAsUser: 0}", "security.runAsUser", "expected a number from 1"),
    Broken("server: {port: 80}", "server.port", "expected a number from 1024 to 65535"),
    Broken("server: {port: 70000}", "server.port", "expected a number from 1024 to 65535"),
    Broken("server: {maxUnavailable: 2}", "server.maxUnavailable", "a number from 0 to 1"),
    Broken(
        "topologySpread: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]",
        "topologySpread[0].maxSkew",
        "expected a number from 1 to 10000",
    ),
    # Not one of the words.
    Broken("grammar: Hydra", "grammar", "expected auto, hydra or literal", "did you mean hydra?"),
    Broken("settings: required", "settings", "expected report or require", "require"),
    Broken("grammar: yaml", "grammar", "auto, hydra or literal", "write auto, for example"),
    Broken("image: {pullPolicy: always}", "image.pullPolicy", "expected Always", "mean Always?"),
    Broken("security: {profile: privileged}", "security.profile", "restricted or baseline"),
    Broken("cache: {type: PVC}", "cache.type", "expected emptyDir or pvc"),
    Broken("runs: {type: hostPath}", "runs.type", "expected emptyDir or pvc"),
    Broken("runs: {accessMode: RWX}", "runs.accessMode", "expected ReadWriteOnce"),
    Broken("preflight: {gpu: 'yes'}", "preflight.gpu", "expected auto or off"),
    Broken("preflight: {gpu: on}", "preflight.gpu", "auto or off, found the truth value true"),
    Broken("tolerations: [{operator: Exist}]", "tolerations[0].operator", "Exists", "mean Exists?"),
    Broken(
        "topologySpread: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: Never}]",
        "topologySpread[0].whenUnsatisfiable",
        "expected DoNotSchedule or ScheduleAnyway",
    ),
    # Not of the form that Kubernetes, W&B or git want.
    Broken("image: {repository: ''}", "image.repository", "an image such as", None),
    Broken("image: {repository: 'me/task:1'}", "image.repository", "without tag"),
    Broken("image: {repository: Me/Task}", "image.repository", "without tag"),
    Broken("image: {tag: 'a b'}", "image.tag", "expected an image's tag such as 3.0.0"),
    Broken("image: {digest: 'md5:1'}", "image.digest", "expected a digest: sha256:"),
    Broken("image: {pullSecrets: [Ngc]}", "image.pullSecrets[0]", NAME),
    Broken("image: {pullSecrets: [a, a]}", "image.pullSecrets", "names something twice"),
    Broken("gpuResource: gpu", "gpuResource", "an extended resource such as nvidia.com/gpu"),
    Broken("shmSize: 8", "shmSize", SIZE, TEXT_QUOTED.format("8")),
    Broken("shmSize: 8 Gi", "shmSize", SIZE),
    Broken("cache: {size: 20GB}", "cache.size", SIZE),
    Broken("cache: {size: 0Gi}", "cache.size", SIZE),
    Broken("resources: {limits: {memory: 32gb}}", "resources.limits.memory", QUANTITY),
    Broken("resources: {limits: {memory: -1}}", "resources.limits.memory", "a number from 0"),
    Broken("resources: {limits: {'a b': 1}}", "resources.limits.a b", "the name of a resource"),
    Broken("cache: {paths: [kit/cache]}", "cache.paths[0]", PATH),
    Broken("cache: {paths: [/a/../b]}", "cache.paths[0]", PATH),
    Broken("cache: {home: ''}", "cache.home", PATH),
    Broken("workingDir: work", "workingDir", PATH),
    Broken("pythonPath: ['/a b']", "pythonPath[0]", PATH),
    Broken("sweepId: abc123", "sweepId", "expected ENTITY/PROJECT/ID of a sweep"),
    Broken("wandb: {baseUrl: wandb.example.org}", "wandb.baseUrl", "an address such as https://"),
    Broken("wandb: {baseUrl: 'https://me:secret@w.org'}", "wandb.baseUrl", "without user"),
    Broken("wandb: {secretName: ''}", "wandb.secretName", NAME),
    Broken("wandb: {secretKey: 'a/b'}", "wandb.secretKey", "expected a key in a Secret"),
    Broken("wandb: {project: 'a/b'}", "wandb.project", "expected a name as W&B has them"),
    Broken("code: {git: {repository: 'x.org:a'}}", "code.git.repository", "such as https://"),
    Broken("code: {git: {repository: '-oa@x.org:a'}}", "code.git.repository", "such as https://"),
    Broken("code: {git: {repository: 'git@x.org:-a'}}", "code.git.repository", "such as https://"),
    Broken("code: {git: {repository: 'ssh://a:b@x.org/a'}}", "code.git.repository", "without pass"),
    Broken("code: {git: {repository: 'file:///a'}}", "code.git.repository", "such as https://"),
    Broken(
        "code: {git: {knownHosts: [a]}}", "code.git.knownHosts", "expected lines of known_hosts"
    ),
    Broken("schedulerName: My_Scheduler", "schedulerName", NAME),
    Broken("scheduler: volcano", "scheduler", NO_SUCH, "did you mean schedulerName?"),
    Broken("envfrom: []", "envfrom", NO_SUCH, "did you mean envFrom?"),
    Broken("envFrom: {secretRef: {name: a}}", "envFrom", "expected a list, found a map"),
    Broken("envFrom: [a]", "envFrom[0]", "one of configMapRef and secretRef"),
    Broken("envFrom: [{}]", "envFrom[0]", "one of configMapRef and secretRef"),
    Broken("envFrom: [{prefix: A_}]", "envFrom[0]", "one of configMapRef and secretRef"),
    Broken(
        "envFrom: [{configMapRef: {name: a}, secretRef: {name: b}}]",
        "envFrom[0]",
        "one of configMapRef and secretRef",
    ),
    Broken("envFrom: [{secret: {name: a}}]", "envFrom[0].secret", NO_SUCH),
    Broken("envFrom: [{secretref: {name: a}}]", "envFrom[0].secretref", NO_SUCH, "secretRef?"),
    Broken("envFrom: [{secretRef: a}]", "envFrom[0].secretRef", "expected a map", "name, optional"),
    Broken("envFrom: [{secretRef: {}}]", "envFrom[0].secretRef", "'name' is missing"),
    Broken("envFrom: [{secretRef: {name: A}}]", "envFrom[0].secretRef.name", NAME),
    Broken(
        "envFrom: [{configMapRef: {name: a, optional: 1}}]",
        "envFrom[0].configMapRef.optional",
        "expected true or false",
    ),
    Broken(
        "envFrom: [{prefix: SWEEPCTL_, secretRef: {name: a}}]",
        "envFrom[0].prefix",
        "none of the Job's own",
    ),
    Broken(
        "envFrom: [{prefix: a-, secretRef: {name: a}}]",
        "envFrom[0].prefix",
        "what variables' names begin with",
    ),
    Broken("initContainers: {name: a}", "initContainers", "expected a list, found a map"),
    Broken("initContainers: [{name: a}]", "initContainers[0]", "'image' is missing", "add image"),
    Broken(
        "initContainers: [{name: code, image: a}]",
        "initContainers[0].name",
        "none of the Job's own",
    ),
    Broken(
        "initContainers: [{name: a, image: b, restartPolicy: Always}]",
        "initContainers[0]",
        "one that stays belongs into sidecars",
    ),
    Broken(
        "initContainers: [{name: a, image: b, securityContext: x}]",
        "initContainers[0].securityContext",
        "expected a map",
    ),
    Broken("extraVolumes: [{name: code-key, emptyDir: {}}]", "extraVolumes[0].name", "Job's own"),
    Broken("code: {git: {ref: '-u x'}}", "code.git.ref", "a branch, a tag or a full commit"),
    Broken("code: {image: {reference: 'A b'}}", "code.image.reference", "expected an image such"),
    Broken("code: {claim: {subPath: ../x}}", "code.claim.subPath", "a folder such as tasks/legs"),
    Broken("proxy: {http: 'http://u:p@h:1'}", "proxy.http", "without user"),
    Broken("kueue: {queue: My_Queue}", "kueue.queue", NAME),
    Broken("priorityClassName: High", "priorityClassName", NAME),
    Broken("interpreter: 'python3; rm'", "interpreter", "a path or a name on PATH"),
    Broken("nodeSelector: {'a/b/c': d}", "nodeSelector.a/b/c", "expected the name of a label"),
    Broken("nodeSelector: {a: 'b c'}", "nodeSelector.a", "expected a label's value"),
    Broken("podLabels: {sweepctl/job: a}", "podLabels.sweepctl/job", "none of sweepctl's own"),
    Broken("podLabels: {job-name: a}", "podLabels.job-name", "none of sweepctl's own"),
    Broken("podLabels: {controller-uid: a}", "podLabels.controller-uid", "none of sweepctl's own"),
    Broken("extraEnv: [{value: b}]", "extraEnv[0]", "'name' is missing", "add name: …"),
    Broken("extraEnv: [{name: 1A, value: b}]", "extraEnv[0].name", "expected a variable's name"),
    Broken("extraEnv: [{name: HOME, value: b}]", "extraEnv[0].name", "itself", "use cache.home"),
    Broken(
        "extraEnv: [{name: SWEEPCTL_GRACE_S, value: '1'}]",
        "extraEnv[0].name",
        "the Job sets SWEEPCTL_GRACE_S itself",
        "use graceSeconds",
    ),
    Broken(
        "extraEnv: [{name: A, value: b, valueFrom: {}}]",
        "extraEnv[0]",
        "expected a variable with value or valueFrom, not both",
    ),
    Broken("extraVolumes: [{name: a}]", "extraVolumes[0]", "its name and where it comes from"),
    Broken("extraVolumes: [{name: runs, emptyDir: {}}]", "extraVolumes[0].name", "Job's own"),
    Broken("extraVolumeMounts: [{name: a}]", "extraVolumeMounts[0]", "'mountPath' is missing"),
    Broken("sidecars: [{name: agent, image: a}]", "sidecars[0].name", "none of the Job's own"),
    Broken("sidecars: [{name: a}]", "sidecars[0]", "'image' is missing", "add image: …"),
    Broken(
        "sidecars: [{name: a, image: b, restartPolicy: Never}]",
        "sidecars[0].restartPolicy",
        "expected Always",
    ),
    Broken("networkPolicy: {serverFrom: [{}]}", "networkPolicy.serverFrom[0]", "expected a peer"),
    Broken("assetRoot: 'a b'", "assetRoot", "without blanks"),
    Broken("checkpoint: {uri: bucket/x}", "checkpoint.uri", "such as s3://bucket/folder"),
    Broken("checkpoint: {uri: /data/x}", "checkpoint.uri", "such as s3://bucket/folder"),
    Broken("checkpoint: {uri: 's3:/bucket'}", "checkpoint.uri", "such as s3://bucket/folder"),
    Broken("checkpoint: {uri: 's3://a b'}", "checkpoint.uri", "such as s3://bucket/folder"),
]

NO_CREDENTIALS = (
    "credentials are no part of an address: whoever may read the Job or the release could read them"
)

CONTRADICTIONS = [
    *[
        Broken(f"checkpoint: {{uri: '{uri}'}}", "checkpoint.uri", message, hint)
        for uri, message, hint in [
            ("s3://AKIA7:a/b+c@bucket/x", NO_CREDENTIALS, "secretKeyRef: {name: YOUR_SECRET"),
            ("s3://AKIA7@bucket/x", NO_CREDENTIALS, "take them out"),
            ("sftp://me:word@host/x", NO_CREDENTIALS, "take them out"),
            ("abfs://b/x?sv=2&sig=a", "ends before ? and #", "a key belongs into a Secret"),
            ("gs://b/x#1", "ends before ? and #", "leave out what follows"),
            ("memory://x", "at an address of memory://", "name a bucket's folder"),
            ("https://x.org/a", "at an address of https://", "s3://YOUR_BUCKET/folder"),
            ("s3://", "the address names no folder", "add it, as in s3://"),
            ("file:///", "the address names no folder", "add it, as in s3://"),
        ]
    ],
    Broken("wandb: {apiKey: abc}", "wandb.apiKey", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken(
        "wandb: {api_key: abc, secretName: team, secretKey: key}",
        "wandb.api_key",
        NO_KEY,
        MAKE_SECRET.format("team", "key"),
    ),
    Broken("wandb: {key: 12345}", "wandb.key", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("wandb: {token: [a]}", "wandb.token", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("wandb: {secret: a}", "wandb.secret", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("apiKey: abc", "apiKey", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("WANDB_API_KEY: abc", "WANDB_API_KEY", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("wandbApiKey: abc", "wandbApiKey", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken("server: {apiKey: a}", "server.apiKey", NO_KEY, MAKE_SECRET.format("wandb", "apiKey")),
    Broken(
        f"wandb: {{secretKey: {'0a1b2c3d4e' * 4}}}",
        "wandb.secretKey",
        "this looks like an API key; the name of a Secret, or of a key in it, belongs here",
        MAKE_SECRET.format("wandb", "apiKey"),
    ),
    Broken(
        f"wandb: {{secretName: local-{'0a1b2c3d4e' * 4}}}",
        "wandb.secretName",
        "this looks like an API key; the name of a Secret, or of a key in it, belongs here",
        MAKE_SECRET.format("wandb", "apiKey"),
    ),
    Broken(
        f"server: {{apiKeys: {{secretKey: wandb_v1_{'aB3_' * 12}}}}}",
        "server.apiKeys.secretKey",
        "this looks like an API key; the name of a Secret, or of a key in it, belongs here",
        MAKE_SECRET.format("wandb", "apiKey"),
    ),
    Broken(
        "initContainers: [{name: a, image: b, env: [{name: WANDB_API_KEY, value: abc}]}]",
        "initContainers[0].env[0].value",
        NO_KEY,
        MAKE_SECRET.format("wandb", "apiKey"),
    ),
    Broken(
        "extraEnv: [{name: A, value: b}, {name: WANDB_API_KEY, value: abc}]",
        "extraEnv[1].name",
        "the Job sets WANDB_API_KEY itself, from a Secret",
        MAKE_SECRET.format("wandb", "apiKey"),
    ),
    Broken(
        "code: {git: {repository: https://x.org/a}, claim: {name: a}}",
        "code.claim.name",
        "code comes from one place, and code.git is set as well",
        'set code: {claim: {name: ""}}',
    ),
    Broken(
        "code: {image: {reference: 'a:1'}, claim: {name: a}}",
        "code.claim.name",
        "code comes from one place, and code.image is set as well",
        'set code: {claim: {name: ""}}',
    ),
    Broken(
        "code: {git: {repository: 'git@x.org:a'}}",
        "code.git.secretName",
        "git over ssh needs a key, and code.git.secretName is empty",
        "set code: {git: {secretName: YOUR_SECRET}}, of type kubernetes.io/ssh-auth",
    ),
    Broken(
        "code: {git: {repository: https://x.org/a, knownHosts: x.org ssh-rsa AAAA}}",
        "code.git.knownHosts",
        "code.git.knownHosts is for git over ssh, and code.git.repository is no address of ssh",
        'set code: {git: {knownHosts: ""}}',
    ),
    Broken(
        "sidecars: [{name: a, image: b}]\ninitContainers: [{name: a, image: c}]",
        "initContainers[0].name",
        "a second container of the name a",
        "remove one of the two",
    ),
    Broken(
        "agents: 9\nkueue: {queue: a, elastic: true, minParallelism: 2}",
        "kueue.minParallelism",
        "an elastic Job is resized by Kueue itself and takes no minParallelism",
        "set kueue: {elastic: true, minParallelism: 0}",
    ),
    Broken(
        "kueue: {elastic: true}",
        "kueue.elastic",
        "kueue.elastic does nothing without kueue.queue",
        "set kueue: {queue: YOUR_LOCAL_QUEUE}",
    ),
    Broken(
        "kueue: {priorityClass: high}",
        "kueue.priorityClass",
        "kueue.priorityClass does nothing without kueue.queue",
        "set kueue: {queue: YOUR_LOCAL_QUEUE}",
    ),
    Broken(
        "agents: 4\nkueue: {queue: a, minParallelism: 4}",
        "kueue.minParallelism",
        "kueue.minParallelism must be less than agents, which is 4",
        "set kueue: {minParallelism: 3}",
    ),
    Broken(
        "kueue: {queue: a}\nsuspend: true",
        "suspend",
        "Kueue itself suspends and resumes a Job of its queue",
        "set suspend: false, and hold the Job by the spec.active of its Workload",
    ),
    Broken(
        "runs: {existingClaim: data}",
        "runs.existingClaim",
        "runs.existingClaim is not used by an emptyDir",
        "set runs: {type: pvc, existingClaim: data}",
    ),
    Broken(
        "cache: {existingClaim: data}",
        "cache.existingClaim",
        "cache.existingClaim is not used by an emptyDir",
        "set cache: {type: pvc, existingClaim: data}",
    ),
    Broken(
        "caBundle: {configMap: a, secret: b}",
        "caBundle.secret",
        "the CA bundle comes from one place, and caBundle.configMap is set as well",
        'set caBundle: {secret: ""}',
    ),
    Broken(
        "resources: {limits: {nvidia.com/gpu: 1}}",
        "resources.limits.nvidia.com/gpu",
        "GPUs are asked for by gpus and gpuResource",
        "set gpus: 1, and leave it out of resources.limits",
    ),
    Broken(
        "resources: {requests: {memory: 64Gi}}",
        "resources.requests.memory",
        "a request of 64Gi is above the limit, which is 32Gi",
        'set resources: {limits: {memory: "64Gi"}}, or resources: {requests: {memory: "32Gi"}}',
    ),
    Broken(
        "resources: {requests: {cpu: 8}, limits: {cpu: 7999m, memory: 17179869184}}",
        "resources.requests.cpu",
        "a request of 8 is above the limit, which is 7999m",
        'set resources: {limits: {cpu: "8"}}, or resources: {requests: {cpu: "7999m"}}',
    ),
    Broken(
        "resources: {limits: {memory: 8Gi}}",
        "resources.requests.memory",
        "a request of 16Gi is above the limit, which is 8Gi",
        'set resources: {limits: {memory: "16Gi"}}, or resources: {requests: {memory: "8Gi"}}',
    ),
    Broken(
        "server: {resources: {requests: {memory: 2.5Gi}}}",
        "server.resources.requests.memory",
        "a request of 2.5Gi is above the limit, which is 2Gi",
        'set server: {resources: {limits: {memory: "2.5Gi"}}}, or'
        ' server: {resources: {requests: {memory: "2Gi"}}}',
    ),
    Broken(
        "server: {enabled: true}\nwandb: {baseUrl: https://w.org}",
        "wandb.baseUrl",
        "the agents use one server, and server.enabled brings one with it",
        'set wandb: {baseUrl: ""}, or server: {enabled: false}',
    ),
    Broken(
        "server: {metrics: {serviceMonitor: {enabled: true}}}",
        "server.metrics.serviceMonitor.enabled",
        "Prometheus would be refused: it has no key, and /metrics is not open",
        "set server: {metrics: {secretName: YOUR_SECRET}}, or server: {metrics: {open: true}}",
    ),
    Broken(
        "server: {httpRoute: {enabled: true}}",
        "server.httpRoute.parentRefs",
        "an HTTPRoute leads nowhere without a Gateway",
        "set server: {httpRoute: {parentRefs: [{name: YOUR_GATEWAY}]}}",
    ),
    Broken(
        "extraEnv: [{name: A, value: b}, {name: A, value: c}]",
        "extraEnv[1].name",
        "a second variable of the name A",
        "remove one of the two",
    ),
    Broken(
        "extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]",
        "extraVolumes[1].name",
        "a second volume of the name a",
        "remove one of the two",
    ),
    Broken(
        "sidecars: [{name: a, image: b}, {name: a, image: c}]",
        "sidecars[1].name",
        "a second container of the name a",
        "remove one of the two",
    ),
    Broken(
        "extraVolumeMounts: [{name: a, mountPath: /a}]",
        "extraVolumeMounts[0].name",
        "there is no volume of the name a",
        "set extraVolumes: [{name: a, …}]",
    ),
    Broken(
        "extraVolumeMounts: [{name: runs, mountPath: /tmp}]",
        "extraVolumeMounts[0].mountPath",
        "something else is mounted at /tmp",
        "mount it elsewhere",
    ),
    Broken(
        "code: {mountPath: /work, claim: {name: a}}",
        "code.mountPath",
        "something else is mounted at /work",
        "mount it elsewhere",
    ),
    Broken(
        "cache: {home: /tmp}",
        "cache.home",
        "something else is mounted at /tmp",
        "mount it elsewhere",
    ),
]

READINGS = [
    Broken(
        "agents: 1\nagents: 2", "agents", "YAML keeps only one of them", "remove one of the two"
    ),
    Broken("shmSize: 1e3", "shmSize", "Helm and YAML 1.1 read 1e3 in two ways", '"1e3"'),
    Broken("podLabels: {a: y}", "podLabels.a", "Helm and YAML 1.1 read y in two ways", '"y"'),
    Broken("podLabels: {n: a}", "podLabels.n", "Helm and YAML 1.1 read n in two ways", '"n"'),
    Broken("podLabels: {a: 12:30}", "podLabels.a", "read 12:30 in two ways", '"12:30"'),
    Broken("podLabels: {a: 2026-01-01}", "podLabels.a", "which JSON lacks", "in quotes"),
    Broken("threads: .inf", "threads", "not a finite number"),
    Broken("podLabels: {5: a}", "podLabels.5", "expected a name", "write '5' in quotes"),
]
