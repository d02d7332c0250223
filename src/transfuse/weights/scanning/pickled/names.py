"""The names that a pickle may import: exact lists, no prefixes, no dots within a name. Everything else is refused.

The first list is torch's own for `weights_only=True` (`torch/_weights_only_unpickler.py`), NumPy's arrays and the plain
types of Python: making them runs nothing. The second is of honest files that are nevertheless code: whole modules of
torch, estimators, settings of trainers. A person decides about them.
"""

from collections.abc import Iterator, Mapping

from transfuse.weights.scanning.pickled.classes import CLASSES
from transfuse.weights.scanning.pickled.values import Symbol

_BITS = {"double": 8, "float": 4, "half": 2, "bfloat16": 2, "int": 4, "long": 8, "short": 2, "uint8": 1, "int8": 1}
_BITS |= {"bool": 1, "complex32": 4, "complex64": 8, "complex128": 16, "float16": 2, "float32": 4, "float64": 8}
_BITS |= {"int16": 2, "int32": 4, "int64": 8, "uint16": 2, "uint32": 4, "uint64": 8, "cfloat": 8, "cdouble": 16}
_BITS |= {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1, "bits8": 1, "bits16": 2, "bits4x2": 1}
_BITS |= {"float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1}
_BITS |= {"bits1x8": 1, "bits2x4": 1, "float4_e2m1fn_x2": 1, "chalf": 4}
_BITS |= {f"{kind}{bits}": 1 for kind in ("int", "uint") for bits in range(1, 8)}
_STORAGES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Int": 4, "Long": 8, "Short": 2, "Byte": 1, "Char": 1}
_STORAGES |= {"Bool": 1, "ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4}
_STORAGES |= {"QUInt4x2": 1, "QUInt2x4": 1, "Untyped": 1}
ITEM_SIZES: Mapping[str, int] = {
    **{f"torch.{name}": size for name, size in _BITS.items()},
    **{f"torch.{name}Storage": size for name, size in _STORAGES.items()},
    **{f"torch.cuda.{name}Storage": size for name, size in _STORAGES.items()},
    "torch.storage.UntypedStorage": 1,
}
"""Bytes of an element, by the name of a dtype or of a storage."""

_PYTHON = {
    "list": "list", "dict": "mapping", "set": "set", "frozenset": "set", "tuple": "plain", "complex": "plain",
    "bytearray": "bytearray", "bytes": "bytes", "object": "value", "int": "value", "long": "value", "float": "value",
    "bool": "value", "str": "value", "unicode": "value", "slice": "plain", "range": "plain", "xrange": "plain",
}  # fmt: skip
_ACCEPTED_RULES = """
mapping collections OrderedDict Counter
defaultdict collections defaultdict
deque collections deque
encode _codecs encode
reconstructor copyreg _reconstructor
reconstructor copy_reg _reconstructor
plain datetime datetime date time timedelta timezone
plain decimal Decimal
value numpy ndarray float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ bool str_ bytes_
value numpy complex64 complex128 longdouble record
dtype numpy dtype
array numpy.core.multiarray _reconstruct
array numpy._core.multiarray _reconstruct
scalar numpy.core.multiarray scalar
scalar numpy._core.multiarray scalar
frombuffer numpy.core.numeric _frombuffer
frombuffer numpy._core.numeric _frombuffer
tensor torch._utils _rebuild_tensor _rebuild_tensor_v2
tensor3 torch._utils _rebuild_tensor_v3
qtensor torch._utils _rebuild_qtensor
wrapped torch._utils _rebuild_parameter _rebuild_parameter_with_state
sparse torch._utils _rebuild_sparse_tensor
meta torch._utils _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass
array_tensor torch._utils _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor
from_type torch._tensor _rebuild_from_type_v2
wrapped torch.nn.parameter Parameter Buffer
plain torch Size device
plain torch.serialization _get_layout
plain torch.torch_version TorchVersion
value torch Tensor per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric
value torch per_channel_affine_float_qparams
old_tensor torch FloatTensor DoubleTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor
old_tensor torch ByteTensor BoolTensor
"""
_ASKED_RULES = """
class argparse Namespace
class types SimpleNamespace
class pathlib Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
class pathlib._local Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
class uuid UUID
class joblib.numpy_pickle NumpyArrayWrapper
class sklearn.externals.joblib.numpy_pickle NumpyArrayWrapper
class transformers.training_args TrainingArguments OptimizerNames ParallelMode
class transformers.training_args_seq2seq Seq2SeqTrainingArguments
class transformers.trainer_utils SchedulerType IntervalStrategy SaveStrategy HubStrategy EvaluationStrategy FSDPOption
class transformers.trainer_pt_utils AcceleratorConfig
class transformers.generation.configuration_utils GenerationConfig
class transformers.debug_utils DebugOption
class accelerate.state PartialState AcceleratorState
class accelerate.utils.dataclasses DistributedType DynamoBackend PrecisionType
class lightning.fabric.utilities.data AttributeDict
class lightning_fabric.utilities.data AttributeDict
class pytorch_lightning.utilities.parsing AttributeDict
class lightning.pytorch.callbacks.model_checkpoint ModelCheckpoint
class pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint
class pytorch_lightning.callbacks.early_stopping EarlyStopping
class omegaconf.dictconfig DictConfig
class omegaconf.listconfig ListConfig
class omegaconf.base ContainerMetadata Metadata SCMode
class omegaconf.nodes AnyNode StringNode IntegerNode FloatNode BooleanNode
value typing Any Dict List Tuple Union Optional
class yacs.config CfgNode
class easydict EasyDict
class torch.utils.data.dataset Subset TensorDataset
class torch.amp.grad_scaler GradScaler
class torch.cuda.amp.grad_scaler GradScaler
class torch.ao.nn.quantized.modules.linear Linear LinearPackedParams
class torch.nn.utils.parametrizations _WeightNorm _SpectralNorm _Orthogonal
function torch._utils _rebuild_nested_tensor
class torch.nn.parameter UninitializedParameter UninitializedBuffer
class torch.distributed.device_mesh DeviceMesh
class torch.distributed.tensor DTensor
class torch.distributed.tensor._dtensor_spec DTensorSpec TensorMeta
class torch.distributed.tensor.placement_types Partial Replicate Shard
value torch.nn.functional relu gelu silu softmax tanh sigmoid leaky_relu elu celu selu hardtanh relu6 log_softmax
value torch relu tanh sigmoid softmax
value torch._C._nn gelu
class scipy.sparse._csr csr_matrix csr_array
class scipy.sparse._csc csc_matrix csc_array
class scipy.sparse._coo coo_matrix coo_array
class scipy.sparse._lil lil_matrix lil_array
class scipy.sparse._dok dok_matrix dok_array
class scipy.sparse._dia dia_matrix dia_array
class scipy.sparse._bsr bsr_matrix bsr_array
class scipy.sparse.csr csr_matrix
class scipy.sparse.csc csc_matrix
class scipy.sparse.coo coo_matrix
class scipy.interpolate._bsplines BSpline
class scipy.interpolate._interpolate interp1d PPoly
class scipy.interpolate.interpolate interp1d
value scipy._lib.array_api_compat.numpy._aliases asarray
value numpy mean median log log1p log2 log10 exp expm1 sqrt abs square sum min max number generic floating integer
value numpy.ma.core MaskedConstant
class numpy.ma MaskedArray
class numpy.ma.core MaskedArray
function numpy.ma.core _mareconstruct
class numpy matrix
class numpy.matrixlib.defmatrix matrix
class numpy.rec recarray
class numpy recarray
class numpy.random._mt19937 MT19937
class numpy.random._pcg64 PCG64 PCG64DXSM
class numpy.random._philox Philox
class numpy.random._sfc64 SFC64
class numpy.random.bit_generator SeedSequence
function numpy.random.bit_generator __pyx_unpickle_SeedSequence
function numpy.random._pickle __randomstate_ctor __bit_generator_ctor __generator_ctor
function numpy._core _ufunc_reconstruct
function numpy.core _ufunc_reconstruct
function sklearn.metrics._dist_metrics newObj
function sklearn.neighbors._kd_tree newObj
function sklearn.neighbors._ball_tree newObj
function sklearn.neighbors._dist_metrics newObj
function sklearn.neighbors.kd_tree newObj
function sklearn.neighbors.ball_tree newObj
function sklearn._loss._loss __pyx_unpickle_CyHalfBinomialLoss __pyx_unpickle_CyHalfMultinomialLoss
function sklearn._loss._loss __pyx_unpickle_CyHalfSquaredError __pyx_unpickle_CyAbsoluteError
value sklearn.feature_selection._univariate_selection f_classif f_regression chi2 r_regression f_oneway
value sklearn.feature_selection._mutual_info mutual_info_classif mutual_info_regression
value sklearn.cluster._kmeans _kmeans_single_lloyd _kmeans_single_elkan
value sklearn.cluster._k_means_lloyd lloyd_iter_chunked_dense
value sklearn.cluster._k_means_elkan elkan_iter_chunked_dense
value sklearn.metrics.pairwise rbf_kernel linear_kernel polynomial_kernel euclidean_distances cosine_similarity
value sklearn.metrics._scorer _passthrough_scorer
value sklearn.metrics._classification accuracy_score f1_score log_loss balanced_accuracy_score precision_score
value sklearn.metrics._classification recall_score
value sklearn.metrics._regression r2_score mean_squared_error mean_absolute_error
value sklearn.metrics._ranking roc_auc_score average_precision_score
class pandas DataFrame Series Index RangeIndex MultiIndex DatetimeIndex CategoricalIndex Categorical
class pandas CategoricalDtype StringDtype Timestamp Timedelta Int64Dtype Float64Dtype BooleanDtype
class pandas.core.frame DataFrame
class pandas.core.series Series
class pandas.core.internals.managers BlockManager SingleBlockManager
class pandas.core.indexes.base Index
class pandas.core.indexes.range RangeIndex
class pandas.core.indexes.multi MultiIndex
class pandas.core.dtypes.dtypes CategoricalDtype
class pandas.core.arrays.categorical Categorical
class pandas.core.arrays.string_ StringDtype StringArray
function pandas.core.indexes.base _new_Index
function pandas._libs.internals _unpickle_block
function pandas._libs.arrays __pyx_unpickle_NDArrayBacked
class lightgbm.basic Booster
class lightgbm.sklearn LGBMClassifier LGBMRegressor LGBMRanker LGBMModel
class xgboost.core Booster
class xgboost.sklearn XGBClassifier XGBRegressor XGBRanker XGBModel XGBRFClassifier XGBRFRegressor
"""


def _entries(text: str, asked: bool) -> Iterator[tuple[tuple[str, str], Symbol]]:
    for entry in text.split("\n")[1:-1]:
        rule, module, *names = entry.split()
        for name in names:
            yield (module, name), Symbol(name=f"{module}.{name}", rule=rule, asked=asked)


_KNOWN = dict(_entries(_ASKED_RULES, True)) | dict(_entries(_ACCEPTED_RULES, False))
for _module in ("builtins", "__builtin__"):
    for _name, _rule in _PYTHON.items():
        _KNOWN[_module, _name] = Symbol(name=f"{_module}.{_name}", rule=_rule)
for _full in ITEM_SIZES:
    _module, _, _name = _full.rpartition(".")
    _KNOWN[_module, _name] = Symbol(name=_full, rule="value")

_STRANGE = {"datasets", "externals", "tests", "_testing"}  # parts of libraries that open files


def known(module: str, name: str) -> Symbol | None:
    """The entry of a name, or None for one that is refused."""
    symbol = _KNOWN.get((module, name))
    if symbol is not None:
        return symbol
    for package, names in CLASSES.items():
        inside = module == package or module.startswith(package + ".")
        if inside and name in names and not _STRANGE & set(module.split(".")):
            return Symbol(name=f"{module}.{name}", rule="class", asked=True)
    return None
