"""The methods by name."""

METHODS = {
    "probe": "transfuse.transferring.probe:probe",
    "finetune": "transfuse.transferring.finetune:finetune",
    "lora": "transfuse.transferring.lora:lora",
    "contrastive": "transfuse.transferring.contrastive:contrastive",
    "last_stages": "transfuse.transferring.last_stages:last_stages",
    "l2sp": "transfuse.transferring.l2sp:l2sp",
    "bss": "transfuse.transferring.bss:bss",
    "delta": "transfuse.transferring.delta:delta",
    "co_tuning": "transfuse.transferring.co_tuning:co_tuning",
    "side": "transfuse.transferring.side:side",
    "initialise": "transfuse.transferring.initialise:initialise",
    "unchanged": "transfuse.transferring.unchanged:unchanged",
    "trees": "transfuse.transferring.trees:trees",
    "pretrained": "transfuse.transferring.pretrained:pretrained",
    "scratch": "transfuse.transferring.scratch:scratch",
}
