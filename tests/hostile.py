"""Model, run and sweep directories that somebody sent with bad intent, made by code from sound
ones.

Each changes a copy of a sound directory. Code that it brings would touch the canary; places outside
that it names are watched.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftr.atomic import sha256

PREDICT, EVALUATE, RESUME = "predict", "evaluate", "resume"
COMMANDS = (PREDICT, EVALUATE, RESUME)
MODEL = (PREDICT, EVALUATE)
"""What reads the model of a run that is done."""


@dataclass(frozen=True)
class Sent:
    """A copy of a sound directory that is to be made hostile: `outside` is watched, and code must
    not touch `canary`.
    """

    run: Path
    outside: Path
    canary: Path

    @property
    def model(self) -> Path:
        return self.run / "model"

    @property
    def checkpoint(self) -> Path:
        return max((self.run / "checkpoints").glob("step-*"))

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a JSON file in place."""
        path = self.run / name
        record = json.loads(path.read_text(encoding="utf-8"))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")

    def code(self) -> str:
        return f"import pathlib\npathlib.Path({str(self.canary)!r}).touch()\n"

    def plugin(self, name: str = "my_task.py") -> Path:
        """Write a plugin file that touches the canary."""
        path = self.run / name
        path.write_text(self.code(), encoding="utf-8")
        return path

    def pickle(self, path: Path) -> None:
        """Write a pickle that touches the canary when it is loaded."""
        path.write_bytes(pickle.dumps(_Touch(str(self.canary))))

    def seal(self) -> None:
        """Make the manifest of the last checkpoint fit its files."""
        files = [
            path
            for path in self.checkpoint.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        ]
        known = {
            str(path.relative_to(self.checkpoint)): {
                "sha256": sha256(path),
                "bytes": path.stat().st_size,
            }
            for path in files
        }
        manifest = self.checkpoint / "manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": known}))


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@dataclass(frozen=True)
class Hostile:
    """What is done to a copy of `kind` (`done`, `adapters`, `cut`, `ensemble`, `sweep`), and the
    commands that must refuse it.

    The others may work, or refuse it too.
    """

    kind: str
    make: Callable[[Sent], object]
    refused: tuple[str, ...]


def _set(name: str, *keys: str, value: object) -> Callable[[Sent], object]:
    def change(record: dict[str, Any]) -> None:
        inner: Any = record
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value

    return lambda sent: sent.edit(name, change)


def _config(**values: object) -> Callable[[Sent], object]:
    return lambda sent: sent.edit("model/config.json", lambda record: record.update(values))


def _text(name: str, text: str | bytes) -> Callable[[Sent], object]:
    return lambda sent: (sent.run / name).write_bytes(
        text.encode() if isinstance(text, str) else text
    )


def _fifo(name: str) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        (sent.run / name).unlink(missing_ok=True)
        os.mkfifo(sent.run / name)

    return make


def _link(name: str, target: Callable[[Sent], Path | str]) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        path = sent.run / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(
            missing_ok=True
        )
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(target(sent))

    return make


def _outside(name: str) -> Callable[[Sent], object]:
    """Move a file or directory to the watched place and link to it: what it holds is sound."""

    def make(sent: Sent) -> None:
        path = sent.run / name
        shutil.move(path, sent.outside / path.name)
        path.symlink_to(sent.outside / path.name)

    return make


def _card_plugin(place: Callable[[Sent, Path], str]) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        path = sent.plugin()
        sent.edit(
            "model/ftr.json", lambda card: card.update(plugins={place(sent, path): sha256(path)})
        )

    return make


def _record_plugin(name: str = "run.json") -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        path = sent.plugin()
        entry = {
            "plugin": "my_task",
            "distribution": path.name,
            "version": "1",
            "origin": str(path),
            "sha256": sha256(path),
        }
        sent.edit(name, lambda record: record["components"].update({"plugin:my_task": entry}))

    return make


def _auto_map(name: str, **more: object) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        (sent.model / "evil.py").write_text(sent.code(), encoding="utf-8")
        classes = {
            "AutoConfig": "evil.C",
            "AutoModelForSequenceClassification": "evil.M",
            "AutoTokenizer": ["evil.T", "evil.T"],
        }
        sent.edit(f"model/{name}", lambda record: record.update(auto_map=classes, **more))

    return make


def _pickled(name: str) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        for path in sent.model.glob("*.safetensors"):
            path.unlink()
        sent.pickle(sent.model / name)

    return make


def _index(name: Callable[[Sent], str]) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        weights = sent.model / "model.safetensors"
        weights.rename(sent.outside / "weights.safetensors")
        sent.pickle(sent.model / "evil.bin")
        shutil.copy(sent.outside / "weights.safetensors", sent.model / "other.safetensors")
        index = {
            "metadata": {"total_size": 1},
            "weight_map": {"bert.embeddings.word_embeddings.weight": name(sent)},
        }
        (sent.model / "model.safetensors.index.json").write_text(json.dumps(index))

    return make


def _base(value: Callable[[Sent], str], revision: str | None = None) -> Callable[[Sent], object]:
    return lambda sent: sent.edit(
        "model/adapter_config.json",
        lambda record: record.update(base_model_name_or_path=value(sent), revision=revision),
    )


def _copied_base(sent: Sent) -> str:
    """Put the sound base into a place that the user never trained with."""
    base = Path(
        json.loads((sent.model / "adapter_config.json").read_text())["base_model_name_or_path"]
    )
    return str(shutil.copytree(base, sent.outside / "base"))


def _adapter(**values: object) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        _allowed(sent)
        sent.edit("model/adapter_config.json", lambda record: record.update(values))

    return make


def _allowed(sent: Sent) -> None:
    """Put the base into the folder, where adapters may have it."""
    base = Path(
        json.loads((sent.model / "adapter_config.json").read_text())["base_model_name_or_path"]
    )
    shutil.copytree(base, sent.model / "base")
    sent.edit(
        "model/adapter_config.json",
        lambda record: record.update(base_model_name_or_path=str(sent.model / "base")),
    )


def _covariance(sent: Sent) -> None:
    sent.pickle(sent.run / "covariance.pt")
    _adapter(
        init_lora_weights="corda", corda_config={"covariance_file": str(sent.run / "covariance.pt")}
    )(sent)


def _imported(sent: Sent) -> None:
    (sent.run / "evil_module.py").write_text(sent.code(), encoding="utf-8")
    _adapter(megatron_config={"tensor_model_parallel_size": 1}, megatron_core="evil_module")(sent)


def _registered(**options: object) -> Callable[[Sent], object]:
    named = {
        "model": {
            "name": "bert",
            "options": {"revision": None, "trust_remote_code": False, **options},
        },
        "config": {},
    }
    return lambda sent: sent.edit("model/ftr.json", lambda card: card.update(base=named))


def _named_pickle(sent: Sent) -> None:
    sent.pickle(sent.model / "evil.bin")
    _config(transformers_weights="evil.bin")(sent)


def _remote_model(sent: Sent) -> None:
    model = shutil.copytree(sent.outside / "models" / "bert", sent.run / "remote")
    (model / "evil.py").write_text(sent.code(), encoding="utf-8")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps({**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}})
    )
    _set(
        "run.json",
        "config",
        "model",
        value={"name": str(model), "options": {"revision": None, "trust_remote_code": True}},
    )(sent)


def _pickles_beside(sent: Sent) -> None:
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "scaler.pt",
        "training_args.bin",
        "pytorch_model.bin",
    ):
        sent.pickle(sent.checkpoint / name)
    sent.seal()


def _pickle_in_checkpoint(name: str) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        sent.pickle(sent.checkpoint / name)
        sent.seal()

    return make


def _quantized(*keys: str, **more: object) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        (sent.model / "evil.py").write_text(sent.code(), encoding="utf-8")
        _set("model/config.json", *keys, "quantization_config", value=more)(sent)

    return make


SETTINGS: Mapping[str, object] = {
    "auto_map": {"AutoProcessor": "evil.P", "AutoConfig": "evil.C", "AutoTokenizer": "evil.T"},
    "custom_generate": "evil/repository",
    "trust_remote_code": True,
    "revision": "refs/pr/7",
    "code_revision": "refs/pr/7",
    "_commit_hash": "0" * 40,
    "_name_or_path": "evil/model",
    "use_kernels": True,
    "kernel_config": {"RMSNorm": "evil/kernel:f"},
}
"""What a stranger may write into any JSON file, in the hope that a library obeys."""


JSON_FILES = (
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "ftr.json",
)


def _obeyed(name: str, **more: object) -> Callable[[Sent], object]:
    def make(sent: Sent) -> None:
        (sent.model / "evil.py").write_text(sent.code(), encoding="utf-8")
        path = sent.model / name
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**record, **SETTINGS, **more}), encoding="utf-8")

    return make


def _deep(name: str) -> Callable[[Sent], object]:
    return _text(name, "[" * 200_000)


CARD_TYPES: Mapping[str, object] = {
    "head": 7,
    "head_options": [],
    "metrics": "accuracy",
    "labels": {"a": 1},
    "max_length": "long",
    "stride": -1,
    "clean": 7,
    "stop_words": ["english"],
    "state": [],
    "base": 7,
    "task": [],
    "ftr": 7,
    "plugins": ["x.py"],
}
WEIGHTS = "model/model.safetensors"
PRECIOUS = "precious.txt"


def _outer(key: str, value: Callable[[Sent], object]) -> Callable[[Sent], object]:
    keys = ("config", *key.split("."))
    return lambda sent: _set("run.json", *keys, value=value(sent))(sent)


FOLDERS: dict[str, Hostile] = {
    # Code.
    "plugin in ftr.json": Hostile("done", _card_plugin(lambda sent, path: str(path)), (PREDICT,)),
    "plugin in ftr.json by a relative path": Hostile(
        "done", _card_plugin(lambda sent, path: os.path.relpath(path)), (PREDICT,)
    ),
    "plugin in ftr.json by its name": Hostile(
        "done", _card_plugin(lambda sent, path: path.name), (PREDICT,)
    ),
    "plugin in run.json": Hostile("done", _record_plugin(), (EVALUATE, RESUME)),
    "plugin in run.json of a run that was cut off": Hostile("cut", _record_plugin(), (RESUME,)),
    "plugin in sweep.json": Hostile("sweep", _record_plugin("sweep.json"), (RESUME,)),
    "head that is a function": Hostile(
        "done", _set("model/ftr.json", "head", value="os:mkdir"), MODEL
    ),
    "metric that is a file": Hostile(
        "done",
        lambda sent: (
            sent.plugin("evil.py"),
            _set("model/ftr.json", "metrics", value=[str(sent.run / "evil.py")])(sent),
        ),
        (EVALUATE,),
    ),
    "dataset that is a program": Hostile(
        "cut",
        lambda sent: _set(
            "run.json",
            "config",
            "dataset",
            value={"name": str(sent.plugin("evil.py")), "options": {}},
        )(sent),
        (RESUME,),
    ),
    "auto_map in config.json": Hostile("done", _auto_map("config.json", model_type="evil"), MODEL),
    "auto_map in config.json of a known kind": Hostile("done", _auto_map("config.json"), ()),
    "auto_map in tokenizer_config.json": Hostile(
        "done", _auto_map("tokenizer_config.json", tokenizer_class="EvilTokenizer"), ()
    ),
    "trust_remote_code in run.json": Hostile("cut", _remote_model, (RESUME,)),
    "trust_remote_code in sweep.json": Hostile(
        "sweep",
        _set(
            "sweep.json",
            "config",
            "model",
            "options",
            value={"revision": None, "trust_remote_code": True},
        ),
        (RESUME,),
    ),
    "trust_remote_code in the space of a sweep": Hostile(
        "sweep",
        lambda sent: sent.edit(
            "sweep.json",
            lambda record: (
                record["space"].update({"model.trust_remote_code": "choice(true,false)"}),
                record["origins"].update({"model.trust_remote_code": "x"}),
            ),
        ),
        (RESUME,),
    ),
    "weights that are a pickle": Hostile("done", _pickled("pytorch_model.bin"), MODEL),
    "pickle under the name of safetensors": Hostile("done", _pickled("model.safetensors"), MODEL),
    "index that names a pickle": Hostile("done", _index(lambda sent: "evil.bin"), MODEL),
    "transformers_weights that is a pickle": Hostile("done", _named_pickle, MODEL),
    "adapters that are a pickle": Hostile("adapters", _pickled("adapter_model.bin"), MODEL),
    "adapters that load a pickle": Hostile("adapters", _covariance, ()),
    "adapters that import a module": Hostile("adapters", _imported, MODEL),
    "pickles in a checkpoint": Hostile("cut", _pickles_beside, ()),
    "weights of a checkpoint that are a pickle": Hostile(
        "cut", _pickle_in_checkpoint("model.safetensors"), (RESUME,)
    ),
    "optimizer of a checkpoint that is a pickle": Hostile(
        "cut", _pickle_in_checkpoint("optimizer.safetensors"), (RESUME,)
    ),
    "kernel for attention": Hostile("done", _config(attn_implementation="evil/kernel"), MODEL),
    "kernel for attention, inner name": Hostile(
        "done", _config(_attn_implementation_internal="evil/kernel@main:f"), MODEL
    ),
    "kernel for attention, old name": Hostile(
        "done", _config(_attn_implementation="evil/kernel"), MODEL
    ),
    "kernel for attention of a part": Hostile(
        "done", _config(attn_implementation={"text_config": "evil/kernel"}), MODEL
    ),
    "kernel for experts": Hostile("done", _config(experts_implementation="evil/kernel"), MODEL),
    "flash attention, which may be a kernel": Hostile(
        "done", _config(attn_implementation="flash_attention_2"), ()
    ),
    "registered base with remote code": Hostile(
        "adapters", _registered(trust_remote_code=True), MODEL
    ),
    **{
        f"quantized by {name}": Hostile("done", make, MODEL)
        for name, make in {
            "bitsandbytes": _quantized(quant_method="bitsandbytes", load_in_4bit=True),
            "a method of their own": _quantized(quant_method="evil", module="evil", auto_map="e.Q"),
            "a kernel": _quantized(quant_method="gptq", backend="evil/kernel"),
            "nothing that is named": _quantized(load_in_8bit=True),
            "a part": _quantized("text_config", quant_method="awq"),
        }.items()
    },
    **{
        f"remote code and kernels in {name}": Hostile("done", _obeyed(name), ())
        for name in JSON_FILES
    },
    **{
        f"kernel for attention in {name}": Hostile(
            "done", _obeyed(name, attn_implementation="evil/kernel"), MODEL
        )
        for name in JSON_FILES
        if name.endswith("_config.json") or name == "config.json"
    },
    # Other places.
    "registered base of another revision": Hostile(
        "adapters", _registered(revision="refs/pr/7"), MODEL
    ),
    "adapters of another revision": Hostile(
        "adapters", _base(lambda sent: "google-bert/bert-base-uncased", "refs/pr/7"), MODEL
    ),
    "adapters of a directory outside": Hostile("adapters", _base(_copied_base), MODEL),
    "adapters of a directory above": Hostile("adapters", _base(lambda sent: "../.."), MODEL),
    "adapters of themselves": Hostile("adapters", _base(lambda sent: str(sent.model)), MODEL),
    "checkpoint and adapters of another": Hostile(
        "done",
        _text(
            "model/adapter_config.json",
            json.dumps({"peft_type": "LORA", "base_model_name_or_path": "evil/model"}),
        ),
        MODEL,
    ),
    "index that leads out": Hostile(
        "done",
        _index(lambda sent: os.path.relpath(sent.outside / "weights.safetensors", sent.model)),
        MODEL,
    ),
    "index with an absolute path": Hostile(
        "done", _index(lambda sent: str(sent.outside / "weights.safetensors")), MODEL
    ),
    "transformers_weights that leads out": Hostile(
        "done", _config(transformers_weights="../../x.safetensors"), MODEL
    ),
    "tokenizer file by its path": Hostile(
        "done",
        lambda sent: _set(
            "model/tokenizer_config.json", "tokenizer_file", value=str(sent.outside / PRECIOUS)
        )(sent),
        MODEL,
    ),
    "weights that are a link": Hostile("done", _outside(WEIGHTS), MODEL),
    "tokenizer that is a link": Hostile("done", _outside("model/tokenizer.json"), MODEL),
    "model that is a link": Hostile("done", _outside("model"), MODEL),
    "weights that are a device": Hostile("done", _link(WEIGHTS, lambda sent: "/dev/zero"), MODEL),
    "link that leads nowhere": Hostile(
        "done", _link("model/config.json", lambda sent: "nowhere"), MODEL
    ),
    "members that are links": Hostile("ensemble", _outside("model/members/1"), MODEL),
    "member of an ensemble two folders up": Hostile(
        "ensemble", _link("model/members/0", lambda sent: "../../.."), MODEL
    ),
    "more members than there are": Hostile(
        "ensemble", _set("model/ensemble.json", "members", value=[{}] * 1000), MODEL
    ),
    "votes that are no numbers": Hostile(
        "ensemble",
        lambda sent: sent.edit(
            "model/ensemble.json", lambda record: record.update(format=2, votes=["a", None])
        ),
        MODEL,
    ),
    "storage in run.json": Hostile(
        "cut", _outer("compute.storage", lambda sent: str(sent.outside / "stolen")), (RESUME,)
    ),
    "cluster in run.json": Hostile(
        "cut", _outer("compute.address", lambda sent: "203.0.113.1:10001"), (RESUME,)
    ),
    "cache in run.json": Hostile(
        "cut", _outer("data.cache", lambda sent: str(sent.outside)), (RESUME,)
    ),
    "trainer's files in run.json": Hostile(
        "cut", _outer("trainer.deepspeed", lambda sent: str(sent.outside / PRECIOUS)), (RESUME,)
    ),
    "upload in run.json": Hostile(
        "cut", _outer("trainer.push_to_hub", lambda sent: True), (RESUME,)
    ),
    "storage in sweep.json": Hostile(
        "sweep",
        lambda sent: _set(
            "sweep.json", "config", "compute", "storage", value=str(sent.outside / "stolen")
        )(sent),
        (RESUME,),
    ),
    "output in run.json": Hostile("cut", _outer("output", lambda sent: str(sent.outside)), ()),
    "manifest that leads out": Hostile(
        "cut",
        lambda sent: _set(
            f"checkpoints/{sent.checkpoint.name}/manifest.json",
            "files",
            f"../../../../{PRECIOUS}",
            value={},
        )(sent),
        (),
    ),
    # Sizes.
    **{
        f"{key} of {value:.0e}": Hostile("done", _config(**{key: value}), MODEL)
        for key, value in {
            "vocab_size": 2_000_000_000,
            "hidden_size": 2_000_000,
            "intermediate_size": 2_000_000_000,
            "max_position_embeddings": 2_000_000_000,
            "type_vocab_size": 2_000_000_000,
            "num_hidden_layers": 2_000_000_000,
            "num_labels": 2_000_000_000,
        }.items()
    },
    "negative sizes": Hostile("done", _config(vocab_size=-5, hidden_size=-1), MODEL),
    "layers in a list": Hostile(
        "done", _config(model_type="gpt_neo", attention_types=[[["global"], 2_000_000_000]]), MODEL
    ),
    "rank of adapters": Hostile("adapters", _adapter(r=2_000_000_000), MODEL),
    "pattern of adapters that never ends": Hostile(
        "adapters", _adapter(target_modules="(([a-z.]+)+)+!"), MODEL
    ),
    "other kind of adapters": Hostile("adapters", _adapter(peft_type="PREFIX_TUNING"), MODEL),
    "adapters of a strange type": Hostile(
        "adapters", _adapter(lora_alpha="much", target_modules=[7]), MODEL
    ),
    "weights cut off": Hostile("done", lambda sent: os.truncate(sent.run / WEIGHTS, 3000), MODEL),
    "weights with a header of 2^63": Hostile(
        "done", _text(WEIGHTS, struct.pack("<Q", 2**63) + b"{}"), MODEL
    ),
    "weights with an empty header": Hostile("done", _text(WEIGHTS, b""), MODEL),
    "max_length of 1e12": Hostile(
        "done", _set("model/ftr.json", "max_length", value=10**12), MODEL
    ),
    "max_length of more than the model takes": Hostile(
        "done", _set("model/ftr.json", "max_length", value=100_000), MODEL
    ),
    "max_length of -1": Hostile("done", _set("model/ftr.json", "max_length", value=-1), MODEL),
    "a million labels": Hostile(
        "done",
        _set("model/ftr.json", "labels", value=[f"l{number}" for number in range(1_000_000)]),
        MODEL,
    ),
    "one label three times": Hostile(
        "done", _set("model/ftr.json", "labels", value=["a", "a", "a"]), MODEL
    ),
    # Files that are none.
    **{
        f"deep nesting in {name}": Hostile("done", _deep(name), refused)
        for name, refused in {
            "run.json": (EVALUATE, RESUME),
            "model/ftr.json": MODEL,
            "model/config.json": MODEL,
            "model/tokenizer_config.json": MODEL,
        }.items()
    },
    "deep nesting in ensemble.json": Hostile("ensemble", _deep("model/ensemble.json"), MODEL),
    "deep nesting in sweep.json": Hostile("sweep", _deep("sweep.json"), (RESUME,)),
    "number of a million digits": Hostile(
        "done", _text("model/ftr.json", '{"head": ' + "9" * 1_000_000 + "}"), MODEL
    ),
    "bytes that are no text": Hostile("done", _text("model/ftr.json", b"\xff\xfe\x00{"), MODEL),
    **{
        f"pipe in place of {name}": Hostile("done", _fifo(name), refused)
        for name, refused in {
            "run.json": (EVALUATE, RESUME),
            "model/ftr.json": MODEL,
            "model/config.json": MODEL,
            WEIGHTS: MODEL,
            "model/tokenizer.json": MODEL,
        }.items()
    },
    # Values of other kinds.
    **{
        f"{key} in ftr.json of another type": Hostile(
            "done", _set("model/ftr.json", key, value=value), MODEL
        )
        for key, value in CARD_TYPES.items()
    },
    "options that the head does not have": Hostile(
        "done", _set("model/ftr.json", "head_options", value={"evil": 1}), MODEL
    ),
    "run.json with a list for its config": Hostile(
        "cut", _set("run.json", "config", value=[1]), (RESUME,)
    ),
    "run.json with components of another type": Hostile(
        "cut", _set("run.json", "components", value=[1]), ()
    ),
    "run.json with a negative batch": Hostile(
        "cut", _set("run.json", "config", "batch_size", value=-7), (RESUME,)
    ),
    "evaluate of a run.json with a negative batch": Hostile(
        "done", _set("run.json", "config", "batch_size", value=-7), (EVALUATE,)
    ),
    "labels with escape sequences": Hostile(
        "done", _set("model/ftr.json", "labels", value=["\x1b]0;evil\x07", "b\x00d", "c"]), ()
    ),
}
