"""llama.cpp's C interface as the pinned wheel exports it: two parameter structs, one batch, some forty functions.

The structs are passed by value, so that a layout that is wrong by one field reads garbage or writes out of
bounds. They follow `include/llama.h` of the build in `PINNED`; before anything is loaded `open_library`
compares the defaults that the library returns with `MODEL_DEFAULTS` and `CONTEXT_DEFAULTS`, field by field:
values as odd as 512, 2048, -1 and 4 in the right places are the proof that our offsets are the library's.
"""

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from typing import Any

from conversion.inference.engine import EngineError

PACKAGE = "xllamacpp"
PINNED = "2026.10.11549"
LOG_ERROR, LOG_CONTINUED = 4, 5


class ModelParams(ctypes.Structure):
    """`struct llama_model_params`, 80 bytes."""

    _fields_ = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


class ContextParams(ctypes.Structure):
    """`struct llama_context_params`, 168 bytes. `reserved` covers one pointer that we leave as it came."""

    _fields_ = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("reserved", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Batch(ctypes.Structure):
    """`struct llama_batch`: the tokens of one call."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)

MODEL_DEFAULTS = {
    "devices": None, "n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0,
    "kv_overrides": None, "vocab_only": False, "check_tensors": False, "use_extra_bufts": True,
    "no_host": False, "no_alloc": False, "load_mtp": False,
}  # fmt: skip
CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1, "n_threads": 4, "n_threads_batch": 4, "rope_scaling_type": -1,
    "pooling_type": -1, "attention_type": -1, "flash_attn_type": -1, "rope_freq_base": 0.0,
    "yarn_ext_factor": -1.0, "yarn_beta_slow": -1.0, "defrag_thold": -1.0, "cb_eval": None, "type_k": 1,
    "type_v": 1, "abort_callback": None, "reserved": None, "embeddings": False, "offload_kqv": True,
    "no_perf": True, "op_offload": True, "swa_full": True, "kv_unified": False, "n_samplers": 0,
    "ctx_other": None,
}  # fmt: skip

SPECIAL_TOKENS = ("bos", "eos", "eot", "sep", "pad", "mask", "fim_pre", "fim_suf", "fim_mid")
ADDED_TOKENS = ("bos", "eos", "sep")

_POINTER, _IDS = c_void_p, POINTER(c_int32)
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [LogCallback, c_void_p]),
    "llama_version": (c_char_p, []),
    "llama_print_system_info": (c_char_p, []),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (_POINTER, [c_char_p, ModelParams]),
    "llama_init_from_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_model_n_ctx_train": (c_int32, [_POINTER]),
    "llama_model_has_encoder": (c_bool, [_POINTER]),
    "llama_model_desc": (c_int32, [_POINTER, c_char_p, c_size_t]),
    "llama_vocab_n_tokens": (c_int32, [_POINTER]),
    "llama_vocab_type": (c_int32, [_POINTER]),
    **{f"llama_vocab_{name}": (c_int32, [_POINTER]) for name in SPECIAL_TOKENS},
    **{f"llama_vocab_get_add_{name}": (c_bool, [_POINTER]) for name in ADDED_TOKENS},
    "llama_vocab_is_eog": (c_bool, [_POINTER, c_int32]),
    "llama_vocab_is_control": (c_bool, [_POINTER, c_int32]),
    "llama_tokenize": (c_int32, [_POINTER, c_char_p, c_int32, _IDS, c_int32, c_bool, c_bool]),
    "llama_detokenize": (c_int32, [_POINTER, _IDS, c_int32, c_char_p, c_int32, c_bool, c_bool]),
    "llama_token_to_piece": (c_int32, [_POINTER, c_int32, c_char_p, c_int32, c_int32, c_bool]),
    "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
    "llama_batch_free": (None, [Batch]),
    "llama_free": (None, [_POINTER]),
    "llama_decode": (c_int32, [_POINTER, Batch]),
    "llama_get_logits": (_POINTER, [_POINTER]),
    "llama_get_embeddings": (_POINTER, [_POINTER]),
    "llama_get_embeddings_seq": (_POINTER, [_POINTER, c_int32]),
    "llama_adapter_lora_init": (_POINTER, [_POINTER, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [_POINTER, POINTER(c_void_p), c_size_t, POINTER(c_float)]),
    "llama_pooling_type": (c_int32, [_POINTER]),
    "llama_model_n_embd_out": (c_int32, [_POINTER]),
    "llama_model_n_cls_out": (c_uint32, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, c_bool]),
}  # fmt: skip


def open_library(path: str) -> Any:
    """The library with every function of `FUNCTIONS` typed and the struct layouts proven.

    Raises EngineError `engine-mismatch` when a function is missing or a default is not where we expect it.
    """
    library = ctypes.CDLL(path)
    for name, (result, arguments) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise _mismatch(f"it has no function {name}") from error
        function.restype, function.argtypes = result, arguments
    _check_defaults(library.llama_model_default_params(), MODEL_DEFAULTS)
    _check_defaults(library.llama_context_default_params(), CONTEXT_DEFAULTS)
    return library


def _check_defaults(params: ctypes.Structure, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        found = getattr(params, name)
        if found != value:
            raise _mismatch(f"{type(params).__name__}.{name} is {found!r} by default, expected {value!r}")


def _mismatch(what: str) -> EngineError:
    return EngineError(
        "engine-mismatch",
        f"this build of llama.cpp is not the one we know ({PACKAGE} {PINNED}): {what}. "
        f"Nothing is validated with it; install the pinned wheel.",
    )
