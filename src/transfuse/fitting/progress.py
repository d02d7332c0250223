"""What a run of `fit` has made, decided and learnt so far."""

from dataclasses import dataclass, field

from transfuse.core.nouns import DataWarning
from transfuse.fitting.candidates import Candidate


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A fork in the path, with the numbers that decided."""

    question: str
    evidence: str
    decision: str


@dataclass(kw_only=True)
class Progress:
    """Filled step by step; the report is made of it at the end, or when the user stops."""

    candidates: list[Candidate] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def by(self, *methods: str) -> list[Candidate]:
        """Candidates of these methods that learnt from the task's own examples, best validation first."""
        mine = (c for c in self.candidates if c.method in methods and c.learnt_from == "target")
        return sorted(mine, key=lambda c: c.score, reverse=True)

    def decide(self, question: str, evidence: str, decision: str) -> None:
        """Record a decision."""
        self.decisions.append(Decision(question=question, evidence=evidence, decision=decision))

    def warn(self, code: str, message: str) -> None:
        """Record what the user should know."""
        self.warnings.append(DataWarning(code=code, message=message))
