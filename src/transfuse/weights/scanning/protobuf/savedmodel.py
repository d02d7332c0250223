"""TensorFlow's graphs: operations are allowed by name, in every function too; what Keras left beside them is checked.

Schemas: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto and framework/graph.proto. Of the
1,522 operations of TensorFlow 2.21, those are refused that read or write files, run Python, or speak to others.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.keras.keras_configs import keras_config
from transfuse.weights.scanning.places import strays
from transfuse.weights.scanning.protobuf import wire
from transfuse.weights.scanning.settings.documents import parsed
from transfuse.weights.scanning.words import names

_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_FILES = names(
    """
    ReadFile WriteFile MatchingFiles LoadLibrary FileSystemSetConfiguration FixedLengthRecordReader
    FixedLengthRecordReaderV2 LMDBReader TFRecordReader TFRecordReaderV2 TextLineReader TextLineReaderV2
    WholeFileReader WholeFileReaderV2 FixedLengthRecordDataset FixedLengthRecordDatasetV2 TFRecordDataset
    TFRecordDatasetV2 TextLineDataset CSVDataset CSVDatasetV2 LMDBDataset SqlDataset MatchingFilesDataset
    LoadDataset SaveDataset SaveDatasetV2 DistributedSave SnapshotDataset SnapshotDatasetV2 SnapshotDatasetReader
    SnapshotNestedDatasetReader SnapshotChunkDataset ListSnapshotChunksDataset DatasetToTFRecord
    ExperimentalCSVDataset ExperimentalLMDBDataset ExperimentalSqlDataset ExperimentalMatchingFilesDataset
    ExperimentalDatasetToTFRecord CreateSummaryFileWriter CreateSummaryDbWriter ImportEvent DebugIdentity
    DebugIdentityV2 DebugIdentityV3 DebugNanCount DebugNumericSummary DebugNumericSummaryV2
    """
)
_NETWORK = names(
    """
    RpcCall RpcClient RpcServer RpcServerRegister RpcServerStart Rpc TryRpc RemoteCall RegisterDataset
    RegisterDatasetV2 DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4
    BigQueryReader
    """
)
_ASK = names(
    """
    CacheDataset CacheDatasetV2 DecodeProtoV2 EncodeProto LoadAndRemapMatrix GenerateVocabRemapping XlaCustomCall
    XlaCustomCallV2 ConfigureDistributedTPU ConfigureAndInitializeGlobalTPU
    """
)
_WHY = ((_PYTHON, "runs Python code"), (_FILES, "reads or writes files"), (_NETWORK, "speaks to other machines"))


def savedmodel(content: Content) -> Iterator[Finding]:
    """A `saved_model.pb`: each of its graphs, the files that it takes along, and Keras' descriptions of layers."""
    graphs = list(wire.messages(wire.grouped(wire.message(content), (2,))[2]))
    if not graphs:
        raise refused("broken", "It holds no graph that can be read.", advice="Fetch the file again.")
    for graph in graphs:
        parts = wire.grouped(graph, (2, 6, 7))
        if not parts[2]:
            raise refused("broken", "It holds no graph that can be read.", advice="Fetch the file again.")
        for definition in wire.messages(parts[2]):
            yield from _definition(definition)
        for asset in wire.messages(parts[6]):
            name = wire.text(wire.grouped(asset, (2,))[2])
            wrong = strays(name)
            if wrong:
                reason = f"It takes along the file '{name[:120]}', which {wrong}."
                yield Finding(verdict="reject", rule="savedmodel-asset", reason=reason, where=name[:80])
        for objects in wire.messages(parts[7]):
            yield from _objects(objects)


def graphdef(content: Content) -> Iterator[Finding]:
    """A frozen graph."""
    yield from _definition(wire.message(content))


def keras_metadata(content: Content) -> Iterator[Finding]:
    """A `keras_metadata.pb`: how Keras 2 rebuilds the layers of a SavedModel."""
    for node in wire.messages(wire.grouped(wire.message(content), (1,))[1]):
        parts = wire.grouped(node, (3, 5))
        yield from _described(wire.text(parts[5]), wire.text(parts[3]))


def fingerprint(content: Content) -> Iterator[Finding]:
    """A `fingerprint.pb` holds five numbers and a name."""
    return iter(())


def sentencepiece(content: Content) -> Iterator[Finding]:
    """A tokenizer's pieces with their scores run nothing; that the message is whole is all there is to check."""
    for _ in wire.message(content).fields():
        pass
    return iter(())


def judged(name: str) -> Finding | None:
    """What speaks against an operation of TensorFlow, by its name."""
    for listed, why in _WHY:
        if name in listed:
            reason = f"Operation '{name}' {why} when the model is used."
            return Finding(verdict="reject", rule="tensorflow-operation", reason=reason, where=name)
    if name in _ordinary() and name not in _ASK:
        return None
    reason = f"Operation '{name[:80]}' is not on the list of ordinary ones."
    advice = "Use it only when you know what it does; if it comes with a library of its own, that library is code."
    return Finding(verdict="ask", rule="tensorflow-operation", reason=reason, where=name[:80], advice=advice)


@cache
def _ordinary() -> frozenset[str]:
    """Every operation of TensorFlow 2.21, as its generated Python modules name them."""
    return frozenset(Path(__file__).with_name("tensorflow_operations.txt").read_text().split())


def _definition(graph: wire.Message) -> Iterator[Finding]:
    """Nodes of a graph and of its library of functions; each operation is spoken of once."""
    parts, told = wire.grouped(graph, (1, 2)), set[str]()
    nodes, defined = list(wire.messages(parts[1])), set[str]()
    for library in wire.messages(parts[2]):
        for function in wire.messages(wire.grouped(library, (1,))[1]):
            inner = wire.grouped(function, (1, 3))
            nodes.extend(wire.messages(inner[3]))
            defined.update(wire.text(wire.grouped(signature, (1,))[1]) for signature in wire.messages(inner[1]))
    for node in nodes:
        name = wire.text(wire.grouped(node, (2,))[2])
        if name == "PrintV2" and _prints_to_file(node):
            reason = "Operation 'PrintV2' writes to a file when the model is used."
            yield Finding(verdict="reject", rule="tensorflow-operation", reason=reason, where=name)
        if name in told:
            continue
        told.add(name)
        finding = judged(name)
        if finding and (finding.verdict == "reject" or name not in defined):
            yield finding


def _prints_to_file(node: wire.Message) -> bool:
    for entry in wire.messages(wire.grouped(node, (5,))[5]):
        parts = wire.grouped(entry, (1, 2))
        if wire.text(parts[1]) == "output_stream":
            values = [wire.text(wire.grouped(value, (2,))[2]) for value in wire.messages(parts[2])]
            return any(value.startswith("file:") for value in values)
    return False


def _objects(objects: wire.Message) -> Iterator[Finding]:
    for node in wire.messages(wire.grouped(objects, (1,))[1]):
        for user in wire.messages(wire.grouped(node, (4,))[4]):
            parts = wire.grouped(user, (1, 3))
            if parts[3]:
                yield from _described(wire.text(parts[3]), wire.text(parts[1]))


def _described(text: str, where: str) -> Iterator[Finding]:
    """A layer as Keras 2 describes it, in JSON."""
    if text.strip():
        yield from keras_config(parsed(text.encode()), where)
