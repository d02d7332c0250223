"""The methods by name."""

METHODS = {
    "probe": "transfuse.transferring.methods.probe:probe",
    "finetune": "transfuse.transferring.methods.finetune:finetune",
    "lora": "transfuse.transferring.methods.lora:lora",
    "contrastive": "transfuse.transferring.methods.contrastive:contrastive",
    "last_stages": "transfuse.transferring.methods.last_stages:last_stages",
    "l2sp": "transfuse.transferring.methods.l2sp:l2sp",
    "bss": "transfuse.transferring.methods.bss:bss",
    "delta": "transfuse.transferring.methods.delta:delta",
    "co_tuning": "transfuse.transferring.methods.co_tuning:co_tuning",
    "adversarial": "transfuse.transferring.methods.adversarial:adversarial",
    "side": "transfuse.transferring.methods.side:side",
    "shared": "transfuse.transferring.methods.shared:shared",
    "initialise": "transfuse.transferring.methods.initialise:initialise",
    "unchanged": "transfuse.transferring.methods.unchanged:unchanged",
    "trees": "transfuse.transferring.methods.trees:trees",
    "pretrained": "transfuse.transferring.methods.pretrained:pretrained",
    "scratch": "transfuse.transferring.methods.scratch:scratch",
}
