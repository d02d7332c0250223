"""skops: names in its tree, kinds that deceive, and what needs a person's word."""

import json

import pytest


def node(loader: str, module: str, name: str, **more):
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


CASES = [
    ("accept", node("ObjectNode", "sklearn.svm._classes", "SVC")),
    ("accept", node("FunctionNode", "numpy", "log1p")),
    ("accept", node("FunctionNode", "scipy.special._ufuncs", "expit")),
    ("accept", node("TypeNode", "numpy", "float64")),
    ("accept", node("SparseMatrixNode", "scipy.sparse._csr", "csr_matrix")),
    ("accept", node("ObjectNode", "sklearn.ensemble._forest", "RandomForestClassifier")),
    ("ask", node("ObjectNode", "__main__", "Mine")),
    ("ask", node("ObjectNode", "xgboost.sklearn", "XGBClassifier")),
    ("ask", node("FunctionNode", "__main__", "clean")),
    ("ask", node("TreeNode", "sklearn.tree._tree", "Tree")),
    ("reject", node("FunctionNode", "os", "system")),
    ("reject", node("FunctionNode", "builtins", "eval")),
    ("reject", node("FunctionNode", "numpy", "load")),
    ("reject", node("FunctionNode", "numpy.testing._private.utils", "runstring")),
    ("reject", node("FunctionNode", "pip", "main")),
    ("reject", node("ObjectNode", "subprocess", "Popen")),
    ("reject", node("TypeNode", "builtins", "eval")),
    ("reject", node("ConstructorFromReduceNode", "importlib.machinery", "SourceFileLoader")),
    ("reject", node("OperatorFuncNode", "operator", "methodcaller")),
    ("reject", node("OperatorFuncNode", "operator", "attrgetter")),
    ("reject", node("MethodNode", "sklearn.svm._classes", "SVC", content={"func": "__reduce__", "obj": {}})),
    ("reject", node("JsonNode", "os", "system")),
    ("reject", node("DictNode", "subprocess", "Popen")),
    ("reject", node("SomeNode", "sklearn.svm", "SVC")),
    ("reject", node("ObjectNode", "sklearn.externals._x", "Y")),
    ("reject", node("ObjectNode", "sklearn", "a b")),
    ("reject", node("ObjectNode", "sklearn", 3)),
]


@pytest.mark.parametrize("verdict, found", CASES)
@pytest.mark.parametrize("deep", [False, True])
def test_names(judged, made, verdict: str, found, deep: bool) -> None:
    if deep:
        found = node(
            "ListNode", "builtins", "list", content=[node("DictNode", "builtins", "dict", content={"a": found})]
        )
    assert judged("m.skops", made.skops(found)).verdict == verdict


def test_trees_end_at_a_depth_and_other_files_are_judged(judged, made) -> None:
    found = node("ListNode", "builtins", "list", content=[])
    for _ in range(400):
        found = node("ListNode", "builtins", "list", content=[found])
    assert judged("m.skops", made.skops(found)).verdict == "reject"
    plain = json.dumps(node("ListNode", "builtins", "list", content=[]))
    assert judged("m.skops", made.zipped({"schema.json": plain, "x.bin": bytes(range(200, 250))})).verdict == "reject"
    assert judged("m.skops", made.zipped({"schema.json": plain})).verdict == "accept"
