"""The load generator as Python sees it: ctypes over `_load.so`, whose border is native/bench/polyglot_load.h.

Loaded by `worker` and by nobody else: a step holds its thread until it is done (ctypes lets others run meanwhile).
"""

import ctypes
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from polyglotctl.bench.plan import Connect, Connected, Idle, Idled, Progress, Publish, Published, Target

ABI = 1
PROCESSES_MAX = 8
TEXT_BYTES_MAX = 16 * 1024
LIBRARY = "_load.so"

FailureKind = Literal["invalid", "system", "refused", "stopped", "no_library"]
_KINDS: dict[int, FailureKind] = {-1: "invalid", -2: "system", -3: "refused", -4: "stopped"}

_u32, _u64, _f64, _text = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_double, ctypes.c_char_p


class LoadFailed(Exception):
    """A step did not do what it was asked for; the message says why."""

    def __init__(self, kind: FailureKind, words: str) -> None:
        super().__init__(words)
        self.kind: FailureKind = kind


class _Target(ctypes.Structure):
    _fields_ = (
        ("dialect", ctypes.c_int32), ("port", ctypes.c_uint16), ("spread_sources", ctypes.c_uint16),
        ("address", _text), ("host", _text), ("request", _text), ("token", _text), ("secret", _text),
        ("app_id", _text), ("claims", _text), ("topic_prefix", _text), ("join_payload", _text), ("event", _text),
        ("broadcast_event", _text), ("payload", _text), ("payload_bytes", _u32), ("processes_count", _u32),
        ("processes", ctypes.c_int32 * PROCESSES_MAX),
    )  # fmt: skip


class _Usage(ctypes.Structure):
    _fields_ = (
        ("seconds", _f64), ("processes_cpu_s", _f64 * PROCESSES_MAX), ("generator_cpu_s", _f64),
        ("others_cpu_s", _f64),
    )  # fmt: skip


class _Latency(ctypes.Structure):
    _fields_ = tuple((name, _u64) for name in ("count", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"))


class _Members(ctypes.Structure):
    _fields_ = (("rooms", _u32), ("members", _u32), ("concurrency", _u32), ("deadline_s", _f64))


class _Connected(ctypes.Structure):
    _fields_ = (
        ("usage", _Usage), ("latency", _Latency), ("seconds", _f64), ("joined", _u64), ("throttled", _u64),
    )  # fmt: skip


class _Traffic(ctypes.Structure):
    _fields_ = (
        ("in_flight", _u32), ("publishers", _u32), ("rate", _f64), ("warm_up_s", _f64), ("seconds", _f64),
        ("drain_s", _f64), ("tolerant", _u32),
    )  # fmt: skip


class _Published(ctypes.Structure):
    _fields_ = (
        ("usage", _Usage),
        ("published", _u64), ("acknowledged", _u64), ("delivered", _u64), ("delivered_bytes", _u64),
        ("delivery", _Latency), ("acknowledgement", _Latency),
        ("refused", _u64), ("unsent", _u64), ("lost", _u64), ("duplicates", _u64), ("out_of_order", _u64),
        ("foreign", _u64), ("closed", _u64), ("unanswered", _u64),
        ("publish_bytes", _u32), ("event_bytes", _u32), ("acknowledgement_bytes", _u32),
    )  # fmt: skip


class _Idled(ctypes.Structure):
    _fields_ = (("usage", _Usage), ("heartbeats", _u64), ("answered", _u64), ("closed", _u64))


class _Progress(ctypes.Structure):
    _fields_ = (
        ("joined", _u64), ("published", _u64), ("acknowledged", _u64), ("delivered", _u64), ("refused", _u64),
        ("elapsed_s", _f64), ("total_s", _f64),
    )  # fmt: skip


_handle = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "plg_load_abi": (_u32, ()),
    "plg_load_open": (
        ctypes.c_int,
        (_u32, ctypes.POINTER(_Target), ctypes.POINTER(_handle), ctypes.c_char_p, ctypes.c_size_t),
    ),
    "plg_load_connect": (ctypes.c_int, (_handle, ctypes.POINTER(_Members), ctypes.POINTER(_Connected))),
    "plg_load_publish": (ctypes.c_int, (_handle, ctypes.POINTER(_Traffic), ctypes.POINTER(_Published))),
    "plg_load_idle": (ctypes.c_int, (_handle, _f64, _f64, ctypes.POINTER(_Idled))),
    "plg_load_look": (None, (_handle, ctypes.POINTER(_Progress))),
    "plg_load_stop": (None, (_handle,)),
    "plg_load_error_text": (ctypes.c_size_t, (_handle, ctypes.c_char_p, ctypes.c_size_t)),
    "plg_load_reasons": (ctypes.c_size_t, (_handle, ctypes.c_char_p, ctypes.c_size_t)),
    "plg_load_close": (None, (_handle,)),
    "plg_load_token": (
        ctypes.c_size_t,
        (_text, _text, _text, _text, ctypes.c_int64, _text, ctypes.c_char_p, ctypes.c_size_t),
    ),
}


def load_library() -> ctypes.CDLL:
    """Raises `LoadFailed` where this installation was built without a compiler, or is of two minds."""
    # `files`, not this file's directory: an editable installation keeps what was built beside the other packages.
    with as_file(files("polyglotctl.bench").joinpath(LIBRARY)) as path:
        if not path.exists():
            raise LoadFailed(
                "no_library", "the load generator was not built: install a C++ compiler, then set up again"
            )
        library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.plg_load_abi() != ABI:
        raise LoadFailed("no_library", "the load generator is of another version than its caller: set up again")
    return library


class LoadGenerator(AbstractContextManager["LoadGenerator"]):
    """Connections to one server. Steps on one thread; `progress` and `stop` from any."""

    def __init__(self, target: Target) -> None:
        self._library = load_library()
        self._handle = _handle()
        self._processes = len(target.processes)
        error = ctypes.create_string_buffer(TEXT_BYTES_MAX)
        code = self._library.plg_load_open(
            ABI, ctypes.byref(_as_struct(target)), ctypes.byref(self._handle), error, len(error)
        )
        if code < 0:
            raise LoadFailed(_KINDS.get(code, "system"), error.value.decode(errors="replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._library.plg_load_close(self._handle)
        self._handle = _handle()

    def connect(self, step: Connect) -> Connected:
        members, result = _Members(step.rooms, step.members, step.concurrency, step.deadline_s), _Connected()
        self._check(self._library.plg_load_connect(self._handle, ctypes.byref(members), ctypes.byref(result)))
        return msgspec.convert(self._plain(result), Connected)

    def publish(self, step: Publish) -> Published:
        traffic = _Traffic(
            step.in_flight, step.publishers, step.rate, step.warm_up_s, step.seconds, step.drain_s, step.tolerant
        )
        result = _Published()
        self._check(self._library.plg_load_publish(self._handle, ctypes.byref(traffic), ctypes.byref(result)))
        return msgspec.convert(self._plain(result) | {"reasons": self._reasons()}, Published)

    def idle(self, step: Idle) -> Idled:
        result = _Idled()
        self._check(self._library.plg_load_idle(self._handle, step.seconds, step.heartbeat_s, ctypes.byref(result)))
        return msgspec.convert(self._plain(result), Idled)

    def progress(self, step: int) -> Progress:
        """How far the running step is; it is the plan's `step`-th."""
        progress = _Progress()
        self._library.plg_load_look(self._handle, ctypes.byref(progress))
        return msgspec.convert(self._plain(progress) | {"step": step}, Progress)

    def stop(self) -> None:
        """Let the running step fail with `stopped`, soon."""
        self._library.plg_load_stop(self._handle)

    def _check(self, code: int) -> None:
        if code < 0:
            raise LoadFailed(_KINDS.get(code, "system"), self._text("plg_load_error_text"))

    def _reasons(self) -> dict[str, int]:
        lines = (line.partition(" ") for line in self._text("plg_load_reasons").splitlines())
        return {reason: int(count) for count, _, reason in lines if count.isdigit()}

    def _text(self, function: str) -> str:
        text = ctypes.create_string_buffer(TEXT_BYTES_MAX)
        getattr(self._library, function)(self._handle, text, len(text))
        return text.value.decode(errors="replace")

    def _plain(self, struct: ctypes.Structure) -> dict[str, Any]:
        """A struct as what msgspec converts; `type` is told by the class that asks."""
        plain: dict[str, Any] = {}
        for field in struct._fields_:
            value = getattr(struct, field[0])
            if isinstance(value, ctypes.Structure):
                value = self._plain(value)
            elif isinstance(value, ctypes.Array):
                value = list(value)[: self._processes]
            plain[field[0]] = value
        return plain


def sign_token(secret: str, app_id: str, user: str, token_id: str, issued_s: int, claims: str = "") -> str:
    """A token as the generator signs them."""
    text = ctypes.create_string_buffer(TEXT_BYTES_MAX)
    words = (part.encode() for part in (secret, app_id, user, token_id))
    load_library().plg_load_token(*words, issued_s, claims.encode(), text, len(text))
    return text.value.decode()


def _as_struct(target: Target) -> _Target:
    struct = _Target()
    struct.processes_count = len(target.processes)
    for place, process in enumerate(target.processes[:PROCESSES_MAX]):
        struct.processes[place] = process
    for name in target.__struct_fields__:
        if name != "processes":
            value = getattr(target, name)
            setattr(struct, name, value.encode() if isinstance(value, str) else int(value))
    return struct
