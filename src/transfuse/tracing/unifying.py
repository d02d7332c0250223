"""Taking terms of axes apart, and letting two of them share one order.

Unification after Robinson, "A machine-oriented logic based on the resolution principle", 1965; what cannot be made to
agree is fixed on both sides instead of failing.
"""

from collections.abc import Sequence

from transfuse.tracing.terms import (
    Cat,
    Choice,
    Leaf,
    Prod,
    Term,
    Unclear,
    at,
    choice,
    choices,
    fix,
    fixed,
    is_fixed,
    leaves,
    loose,
    normal,
    product,
    same,
)


def split(term: Term, sizes: Sequence[int]) -> list[Term]:
    """Factors of these sizes. Raises `Unclear`."""
    found: list[Term] = []
    for size in sizes[:-1]:
        head, term = split_two(term, size)
        found.append(head)
    return [*found, term] if sizes else []


def split_two(term: Term, size: int) -> tuple[Term, Term]:
    """A factor of this size and the rest, which may differ at each of its positions. Raises `Unclear`."""
    term = normal(term)
    inner = term.size // size
    if size * inner != term.size:
        raise Unclear
    if 1 in (size, inner):
        return (fixed(1), term) if size == 1 else (term, fixed(1))
    if is_fixed(term):
        return fixed(size), fixed(inner)
    if isinstance(term, Leaf):
        head = Leaf(size)
        rest: Term = Choice(head, tuple(Leaf(inner) for _ in range(size)))
        term.bound = Prod((head, rest))
        return head, rest
    if isinstance(term, Cat):
        pieces = cut(term, [inner] * size)
        head = fixed(size)
        return head, choice(head, pieces)
    if isinstance(term, Choice):
        pairs = [split_two(option, size) for option in term.options]
        return choice(term.index, [a for a, _ in pairs]), choice(term.index, [b for _, b in pairs])
    return _split_product(term, size)


def _split_product(term: Prod, size: int) -> tuple[Term, Term]:
    first, rest = term.factors[0], term.factors[1:]
    if size < first.size:
        head, tail = split_two(first, size)
        return head, product((tail, *rest))
    if size % first.size:
        raise Unclear
    head, tail = split_two(product(rest), size // first.size)
    return product((first, head)), tail


def cut(term: Term, sizes: Sequence[int]) -> list[Term]:
    """Parts of these sizes, one after another. Raises `Unclear`."""
    term = normal(term)
    if len(sizes) == 1:
        return [term]
    if is_fixed(term):
        return [fixed(size) for size in sizes]
    if isinstance(term, Leaf):
        new = tuple(Leaf(size) for size in sizes)
        term.bound = Cat(new)
        return list(new)
    if isinstance(term, Choice):
        columns = [cut(option, sizes) for option in term.options]
        return [choice(term.index, column) for column in zip(*columns, strict=True)]
    return _cut_cat(term, sizes) if isinstance(term, Cat) else _cut_product(term, sizes)


def _cut_cat(term: Cat, sizes: Sequence[int]) -> list[Term]:
    left, found = list(term.parts), []
    for size in sizes:
        taken: list[Term] = []
        while size > 0:
            part = left.pop(0)
            if part.size > size:
                part, rest = cut(part, [size, part.size - size])
                left.insert(0, rest)
            taken.append(part)
            size -= part.size
        found.append(normal(Cat(tuple(taken)) if len(taken) != 1 else taken[0]))
    return found


def _cut_product(term: Prod, sizes: Sequence[int]) -> list[Term]:
    """Whole positions of its first factor, which is thereby fixed."""
    first, rest = term.factors[0], product(term.factors[1:])
    if any(size % rest.size for size in sizes) or not isinstance(first, Leaf):
        raise Unclear
    fix(first)
    rows = [at(rest, first, i) for i in range(first.size)]
    found, start = [], 0
    for count in (size // rest.size for size in sizes):
        axis = fixed(count)
        own = rows[start : start + count]
        found.append(product((axis, choice(axis, own))) if count else fixed(0))
        start += count
    return found


def unify(a: Term, b: Term) -> None:
    """Let both have one order. What cannot be made to agree is fixed on both sides."""
    a, b = normal(a), normal(b)
    if same(a, b):
        return
    if a.size != b.size or is_fixed(a) or is_fixed(b):
        fix(a)
        fix(b)
        if isinstance(a, Leaf) and isinstance(b, Leaf) and a.size == b.size:
            a.bound = b
        return
    try:
        _agree(a, b)
    except Unclear:
        fix(a)
        fix(b)


def _agree(a: Term, b: Term) -> None:
    if isinstance(b, Leaf):
        a, b = b, a
    if isinstance(a, Leaf):
        _bind(a, b)
    elif isinstance(a, Choice) or isinstance(b, Choice):
        _agree_choices(a, b)
    elif isinstance(a, Cat) or isinstance(b, Cat):
        ends = sorted({end for term in (a, b) if isinstance(term, Cat) for end in _ends(term)})
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        unify_all(cut(a, sizes), cut(b, sizes))
    else:
        unify_all(*_refined(a, b))


def _ends(term: Cat) -> list[int]:
    return [sum(part.size for part in term.parts[: i + 1]) for i in range(len(term.parts))]


def _bind(leaf: Leaf, term: Term) -> None:
    for free in list(loose([term])):
        collapse(free)
    term = normal(term)
    if any(other is leaf for other in leaves(term)):
        if term is not leaf:
            raise Unclear
    else:
        leaf.bound = term


def _agree_choices(a: Term, b: Term) -> None:
    if isinstance(a, Choice) and isinstance(b, Choice) and same(normal(a.index), normal(b.index)):
        unify_all(a.options, b.options)
        return
    for term in (a, b):
        if isinstance(term, Choice):
            collapse(term)
    unify(a, b)


def _refined(a: Term, b: Term) -> tuple[list[Term], list[Term]]:
    """Two products as products of equal sizes. Raises `Unclear`."""
    one, two = [], []
    while a.size > 1:
        x = a.factors[0] if isinstance(a, Prod) else a
        y = b.factors[0] if isinstance(b, Prod) else b
        size = min(x.size, y.size)
        (x, a), (y, b) = split_two(a, size), split_two(b, size)
        one.append(x)
        two.append(y)
    return one, two


def unify_all(one: Sequence[Term], two: Sequence[Term]) -> None:
    """Pair by pair; choices last, when it is known whether their axes are one."""
    pairs = sorted(zip(one, two, strict=True), key=lambda pair: any(any(choices(normal(t))) for t in pair))
    for a, b in pairs:
        unify(a, b)


def collapse(term: Choice) -> None:
    """Let all options have one order, so that it no longer depends on the position."""
    for option in term.options[1:]:
        unify(term.options[0], option)
