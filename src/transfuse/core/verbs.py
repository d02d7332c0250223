"""The verbs by name: one literal table that the package, the nouns' doors and the command line share."""

from typing import Any

from transfuse.core.tables import resolve

VERBS = {
    "task": "transfuse.tasks.opening:open_task",
    "source": "transfuse.sources.references:find",
    "features": "transfuse.sources.extraction:features",
    "scan": "transfuse.weights.scanning.scan:scan",
    "convert": "transfuse.weights.converting:convert",
    "check": "transfuse.checking.check:check",
    "cleaned": "transfuse.checking.cleaning:cleaned",
    "drift": "transfuse.checking.drift:drift",
    "rank": "transfuse.ranking.rank:rank",
    "transfer": "transfuse.transferring.transfer:transfer",
    "fuse": "transfuse.fusing.fuse:fuse",
    "distill": "transfuse.distilling.distill:distill",
    "shrink": "transfuse.fitting.shrinking.shrink:shrink",
    "reshape": "transfuse.reshaping.reshape:reshape",
    "split": "transfuse.reshaping.heads:split",
    "join": "transfuse.reshaping.heads:join",
    "fuse_features": "transfuse.fitting.fusing_features:fuse_features",
    "verify": "transfuse.fusing.verify:verify",
    "backup": "transfuse.weights.backups.backup:backup",
    "restore": "transfuse.weights.backups.backup:restore",
    "fit": "transfuse.fitting.fit:fit",
    "update": "transfuse.transferring.update:update",
    "forget": "transfuse.transferring.forget:forget",
    "evaluate": "transfuse.evaluating.evaluate:evaluate",
    "perplexity": "transfuse.evaluating.language:perplexity",
    "compare": "transfuse.evaluating.compare:compare",
    "guard": "transfuse.predicting.guarding:guard",
    "predict": "transfuse.predicting.predict:predict",
    "save": "transfuse.predicting.several:save",
    "load": "transfuse.predicting.several:load",
    "render_text": "transfuse.reporting.terminal:render_text",
    "save_report": "transfuse.reporting.files:save_report",
}


def call(verb: str, *arguments: Any, **options: Any) -> Any:
    """Import the verb's room and call it."""
    return resolve(VERBS, verb, "verb")(*arguments, **options)
