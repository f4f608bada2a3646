"""Load a Hugging Face checkpoint from a directory or the Hub: safetensors only, pad token set,
remote code off.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ftr.atomic import read_json
from ftr.config.components import create_component
from ftr.config.schema import Component, PretrainedOptions
from ftr.errors import ModelError
from ftr.model.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    is_adapter,
    load_adapted,
    settings_of,
)
from ftr.model.architecture import (
    Names,
    align_head,
    body_renaming,
    check_padding,
    fresh_rows,
    in_body,
    positions,
    reads_token_types,
    summarize_last,
    without_token_types,
)
from ftr.model.folder import FTR_JSON, check_folder, check_size, read_card
from ftr.model.hub import is_reachable
from ftr.model.transformers_private import (
    forget_kernels,
    forget_renaming,
    model_class,
    model_types,
)
from ftr.registry import trust
from ftr.registry.protocols import Model
from ftr.registry.registry import Registry, get_registry

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
HIDDEN_DROPOUT = (
    *("hidden_dropout_prob", "hidden_dropout", "dropout", "resid_pdrop", "embd_pdrop"),
    *("embedding_dropout", "mlp_dropout"),
)
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


class Pretrained:
    """A checkpoint by directory or hub id. Implements `ftr.registry.protocols.Model`."""

    def __init__(
        self,
        name: str,
        options: PretrainedOptions | None = None,
        *,
        complete: bool = False,
        hint: str = "",
    ) -> None:
        """Refer to the checkpoint `name`; nothing is read before `tokenizer` or `load`.

        `complete`: it is a trained model, whose head must exist too. `hint` is part of the message
        when it cannot be loaded.
        """
        self.name = name
        self.complete, self.hint = complete, hint
        self.options = options or PretrainedOptions()
        self.dropout: float | None = None
        self.attention_dropout: float | None = None

    def locate(self) -> str:
        """Return the directory or hub id that is given to transformers; subclasses may look
        further.
        """
        return self.name

    @cached_property
    def source(self) -> str:
        """What `locate` found, looked up once; of the folder of a run the checkpoint in it."""
        found = self.locate()
        inside = Path(found) / "model"
        run = not (Path(found) / "config.json").is_file() and (inside / "ftr.json").is_file()
        return str(inside) if run else found

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the fast tokenizer, padding on the right, with a pad token.

        Raises `ModelError`.
        """
        from transformers import AutoTokenizer

        self._check_folder()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.source, **self._common())
        except Exception as error:  # a damaged `tokenizer.json` raises whatever its parser met
            # transformers asks for `tiktoken`, which it tries last, and which cannot read the file.
            if "`tiktoken` is required" in str(error) and find_spec("sentencepiece") is None:
                raise ModelError(
                    f"{self._described()}: its tokenizer is a sentencepiece file, which "
                    "transformers reads with the package `sentencepiece`. Run "
                    "`pip install 'ftr[sentencepiece]'`."
                ) from error
            raise self._unreadable("tokenizer", error) from error
        special = set(tokenizer.all_special_tokens)
        if len(tokenizer) <= 2 * len(special) and tokenizer.get_vocab().keys() <= special:
            # transformers makes one without words where the files are missing: every text becomes
            # unknown tokens.
            raise ModelError(
                f"{self._described()} has no tokenizer: save its files (`tokenizer.json`) beside "
                "the weights."
            )
        if not tokenizer.is_fast:
            raise ModelError(
                f"model `{self.name}` has no fast tokenizer (`tokenizer.json`), which ftr needs "
                "for offsets. Save one beside it."
            )
        settings = self.settings if self.base is None else None
        rows = settings and getattr(settings.get_text_config(), "vocab_size", None)
        set_pad_token(tokenizer, rows)
        if settings is not None and not reads_token_types(settings, tokenizer):
            without_token_types(tokenizer)
        tokenizer.truncation_side = "right"
        # Batches are padded on the right here; the side is for those who use the saved tokenizer.
        last = getattr(settings, "summary_type", None) == "last"
        tokenizer.padding_side = "left" if last else "right"
        return tokenizer

    @cached_property
    def settings(self) -> PretrainedConfig:
        """The config of the checkpoint as it is. Raises `ModelError`."""
        return self._settings()

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` with the pretrained weights; `config` values override those of the
        checkpoint.

        The pad token of the tokenizer is set on the model's config, so that decoders find the end
        of each row. A head that was trained before follows the class names in `id2label`: its rows
        are put into their order, and where the names differ it is initialized again; `head_note` of
        the model is the message about it. Raises `ModelError` when the weights are missing, not in
        safetensors, or of another architecture.
        """
        self._check_folder()
        if "num_labels" in config or "id2label" in config:
            # That of the checkpoint would choose the loss, and what a pipeline does with outputs.
            config = {"problem_type": None, **config}
        if self.base is not None:
            return self._with_adapters(self.base, auto_class, **config)
        self.check_kind(auto_class)
        tokenizer = self.tokenizer()
        settings = self._settings(**config)
        settings.pad_token_id = settings.get_text_config().pad_token_id = tokenizer.pad_token_id
        # Heads read plain outputs, whatever the checkpoint was saved with.
        settings.return_dict = True
        settings.output_hidden_states = settings.output_attentions = False
        if getattr(settings, "attention_type", None) == "block_sparse":
            # BigBird draws the blocks at random, by the length with padding, and leaves them for
            # good at the first short batch.
            settings.attention_type = "original_full"
        _set_all("train.dropout", settings, HIDDEN_DROPOUT, self.dropout)
        _set_all("train.attention_dropout", settings, ATTENTION_DROPOUT, self.attention_dropout)
        self._check_vocabulary(settings, tokenizer)
        model, report = self._from_pretrained(auto_class, settings)
        self._check_weights(model, report)
        other = {name for name, *_ in report["mismatched_keys"]}
        # Drawn at random: these train with the head, whatever of the backbone is frozen.
        model.new_weights, model.head_note = frozenset({*report["missing_keys"], *other}), None
        summarize_last(model)
        if not self.complete:
            made = self.settings.architectures or ()
            if "id2label" in config:
                model = align_head(
                    model,
                    Names.of(self.settings),
                    config["id2label"],
                    mismatched=bool(other),
                    made=made,
                )
            else:
                model = fresh_rows(model, made)
            if model_types(auto_class) is not None:  # `ftr.testing` checks the class of a plugin
                check_padding(model, tokenizer, self._described())
        return model

    def skeleton(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` of the checkpoint's config on the `meta` device: shapes without
        weights.
        """
        import torch

        self.check_kind(auto_class)
        settings = self._settings(**config)
        forget_kernels(settings)
        make = getattr(auto_class, "from_config", auto_class)
        with torch.device("meta"):
            model: PreTrainedModel = make(settings)
        model.new_weights, model.head_note = frozenset(), None
        return model

    def check_kind(self, auto_class: type[Any]) -> None:
        """Raise `ModelError` where transformers has no `auto_class` of the checkpoint's kind; no
        weights are read.
        """
        if self.base is not None:
            return
        known = model_types(auto_class)
        remote = self.options.trust_remote_code and hasattr(self.settings, "auto_map")
        if known is not None and not remote and type(self.settings) not in known:
            raise ModelError(
                f"{self._described()} is a `{self.settings.model_type}`, and transformers has no "
                f"`{auto_class.__name__}` of that kind. Give another model."
            )

    @cached_property
    def base(self) -> Model | None:
        """The model that the adapters in a directory are for; None for what is a checkpoint of its
        own. Raises `ModelError`.
        """
        return base_model(Path(self.source)) if is_adapter(Path(self.source)) else None

    def _from_pretrained(
        self, auto_class: type[Any], settings: PretrainedConfig
    ) -> tuple[PreTrainedModel, dict[str, Any]]:
        from transformers import AutoModelForQuestionAnswering

        kinds = (model_class(one, settings) for one in (auto_class, AutoModelForQuestionAnswering))
        renamed = body_renaming(*kinds)
        try:
            self._check_settings(settings, auto_class)
            model, report = auto_class.from_pretrained(
                self.source,
                config=settings,
                use_safetensors=True,
                dtype="float32",
                # Not the kernel that a config names: `train.attention` decides, later.
                attn_implementation="eager",
                # `_check_weights` reports them; a new head replaces one for other classes.
                ignore_mismatched_sizes=True,
                key_mapping=renamed,
                output_loading_info=True,
                **self._common(),
            )
        except UNREADABLE as error:
            raise self._unreadable("weights", error) from error
        model.body_renamed = renamed is not None and forget_renaming(model, renamed)
        return model, report

    def _settings(self, **config: Any) -> PretrainedConfig:
        from transformers import AutoConfig

        self._check_folder()
        options = {**self._common(), **config}
        try:
            settings: PretrainedConfig = AutoConfig.from_pretrained(self.source, **options)
        except Exception as error:  # a damaged `config.json` raises whatever its reader met
            raise self._unreadable("config", error) from error
        if getattr(settings, "quantization_config", None) is not None:
            raise ModelError(
                f"{self._described()} has quantized weights, which ftr does not train. Give the "
                "model in fp32, bf16 or fp16."
            )
        return settings

    def _with_adapters(self, base: Model, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        if isinstance(base, Pretrained):
            base.dropout, base.attention_dropout = self.dropout, self.attention_dropout
        # The head that was saved with them may have its classes in another order than the data.
        known = None if self.complete or "id2label" not in config else self._adapted_names()
        own = config if known is None else {**config, **known.config}
        try:
            model = load_adapted(base.load(auto_class, **own), Path(self.source))
        except (*UNREADABLE, TypeError, AttributeError, KeyError) as error:
            raise self._unreadable("adapters", error) from error
        model.new_weights, model.head_note = frozenset(), None
        return model if known is None else align_head(model, known, config["id2label"])

    def _adapted_names(self) -> Names | None:
        """Return the classes of the model with its adapters, None where their folder has none."""
        from transformers import PretrainedConfig

        names = settings_of(Path(self.source)).get("id2label")
        return Names.of(PretrainedConfig(id2label=names)) if names else None

    def _check_settings(self, settings: PretrainedConfig, auto_class: type[Any]) -> None:
        """Refuse sizes that the weights do not account for, and drop the kernels that a config
        names.
        """
        forget_kernels(settings)  # `train.attention` decides once the model exists
        if Path(self.source).is_dir():
            make = getattr(auto_class, "from_config", None)
            given = {"trust_remote_code": self.options.trust_remote_code} if make else {}
            check_size(
                lambda config: (make or auto_class)(config, **given), settings, Path(self.source)
            )

    def _check_weights(self, model: PreTrainedModel, report: dict[str, Any]) -> None:
        """Refuse a body with missing weights, which transformers would initialize at random."""
        odd = dict.fromkeys(report["missing_keys"], "missing")
        for name, found, wanted in report["mismatched_keys"]:
            odd[name] = f"of shape {list(found)}, not {list(wanted)}"
        # Checkpoints of masked language models come without a pooler.
        odd = {
            name: problem
            for name, problem in odd.items()
            if self.complete or (in_body(model, name) and ".pooler." not in name)
        }
        if not odd:
            return
        kind, first = type(model).__name__, min(odd)
        body = [name for name, _ in model.named_parameters() if in_body(model, name)]
        others = sorted({name.split(".")[0] for name in report["unexpected_keys"]})
        if others and set(body) <= odd.keys():
            wanted, given = body[0].partition(".")[0], ".`, `".join(others[:3])
            raise ModelError(
                f"{self._described()}: `{kind}` of transformers finds none of its weights: it "
                f"looks for the body under `{wanted}.`, the checkpoint has `{given}.`. Save the "
                "body alone, with `AutoModel.from_pretrained(...).save_pretrained(...)`, or give "
                "another model."
            )
        raise ModelError(
            f"{self._described()}: its weights do not fit its config, a "
            f"`{model.config.model_type}`: {len(odd)} missing or of another shape, the first "
            f"`{first}`: {odd[first]}. Check `config.json`, or give another model."
        )

    def _check_vocabulary(
        self, settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Refuse a tokenizer with words, or with the special tokens of every row, that the model
        has no embedding for.
        """
        rows = getattr(settings.get_text_config(), "vocab_size", None)
        highest = max(tokenizer.vocab_size - 1, *tokenizer("a", "b")["input_ids"])
        if rows is not None and highest >= rows:
            raise ModelError(
                f"{self._described()}: its tokenizer has {highest + 1} tokens and the model only "
                f"{rows}: the two are not of the same model. Check the tokenizer's files."
            )

    def max_length(self) -> int | None:
        """Return the longest input in tokens that the model has positions for, None where it has no
        limit.
        """
        self._check_folder()
        return positions(self.settings) if self.base is None else self.base.max_length()

    def describe(self) -> dict[str, Any]:
        """Return the source, revision and whether remote code was allowed; of a model of the Hub
        that was read also the `commit` that the revision stood for.
        """
        commit = getattr(self.__dict__.get("settings"), "_commit_hash", None)
        found = {"source": self.source, **self.options.model_dump()}
        return {**found, "commit": commit} if commit else found

    def _common(self) -> dict[str, Any]:
        options = self.options
        common = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
        return common if self._reachable else {**common, "local_files_only": True}

    @cached_property
    def _reachable(self) -> bool:
        """Whether to ask the Hub: with its files in the cache, a model loads without it."""
        return Path(self.source).is_dir() or is_reachable()

    def _check_folder(self) -> None:
        folder = Path(self.source)
        if not folder.is_dir():
            return
        check_folder(folder)
        if is_adapter(folder):
            if not (folder / ADAPTER_WEIGHTS).is_file():
                raise ModelError(
                    f"the adapters in `{folder}` have no weights in safetensors "
                    f"(`{ADAPTER_WEIGHTS}`): save them again so."
                )
            return
        if (folder / "ensemble.json").is_file():
            member = folder / "members" / "0"
            raise ModelError(
                f"model directory `{folder}` is an ensemble of several models: give one of them, "
                f"such as `model={member}`."
            )
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"model directory `{folder}` has no `config.json`: give a directory written by "
                "`save_pretrained`."
            )
        if not any(folder.glob("*.safetensors")):
            pickled = next((path.name for path in sorted(folder.glob("*.bin"))), None)
            found = f"; `{pickled}` is a pickle, which ftr does not load" if pickled else ""
            raise ModelError(
                f"model directory `{folder}` has no weights, no `*.safetensors` file{found}. Save "
                "the model there with `save_pretrained`."
            )

    def _described(self) -> str:
        if Path(self.source).is_dir():
            return f"model directory `{self.source}`"
        source = "" if self.name == self.source else f" (`{self.source}`)"
        return f"model `{self.name}`{source}"

    def _unreadable(self, what: str, error: Exception) -> ModelError:
        # A message about a field has the field in one line and what is wrong with it in the next.
        lines = str(error).strip().replace(":\n", ":").splitlines() or [type(error).__name__]
        fix = (
            "Check the files in it."
            if Path(self.source).is_dir()
            else f"Is the name right, and can this machine reach the hub?{self.hint} A local "
            "directory (`model=path`), and `model=minilm` with `ftr[offline]`, need no network."
        )
        cause = lines[0].rstrip(".")
        return ModelError(f"{self._described()}: cannot read its {what}: {cause}. {fix}")


def base_model(folder: Path) -> Model:
    """Return the model that the adapters in `folder` are for: the one that is registered by its
    name, else what they name themselves.

    Whoever made the folder chose the name. It may be a registered model or a model of the Hub, both
    without options, or a directory within `folder`; anything else only where this user trained with
    it, or names it (`--base`). Raises `ModelError`.
    """
    base = read_card(folder).base if (folder / FTR_JSON).is_file() else None
    registry = get_registry()
    if base and registry.has("model", base["model"]["name"]):
        component = Component.model_validate(base["model"])
        _check_options(folder, component, registry)
        created: Model = create_component(registry, "model", component)
        return created
    settings = read_json(folder / ADAPTER_CONFIG)
    name, revision = str(settings.get("base_model_name_or_path") or ""), settings.get("revision")
    path = Path(name)
    if not name or (path.is_absolute() and not path.is_dir()):
        raise ModelError(
            f"the adapters in `{folder}` are for the model in `{name}`, which does not exist: "
            f"restore it, or write its path into `{ADAPTER_CONFIG}` (`base_model_name_or_path`). "
            "`train.lora.merge=true` writes checkpoints that need no other."
        )
    local = path.is_dir() or name.startswith(("~", ".")) or ".." in path.parts
    known = [str(path.resolve()) if local else name, revision]
    own = path.resolve().is_relative_to(folder.resolve()) if local else revision is None
    trusted = known in trust.named_bases() or trust.is_trusted(trust.setting("base", known))
    if not own and not trusted:
        option = f"{known[0]}@{revision}" if revision else str(known[0])
        raise ModelError(
            f"the adapters in `{folder}` are for the model `{option}`, a "
            f"{'directory outside of it' if local else 'revision'} that you never trained with: if "
            f"you trust it, name it with `--base {option}` (or `{trust.BASES}`)."
        )
    if local and is_adapter(path):
        raise ModelError(
            f"the adapters in `{folder}` are for `{name}`, which consists of adapters: name a "
            f"plain model in `{ADAPTER_CONFIG}`."
        )
    return Pretrained(name, PretrainedOptions(revision=revision))


def _check_options(folder: Path, component: Component, registry: Registry) -> None:
    """Raise `ModelError` where adapters ask for a registered model with options of their own."""
    model = registry.options_model("model", component.name)
    usual = model.model_validate({}).model_dump(mode="json") if model else {}
    other = {key: value for key, value in component.options.items() if usual.get(key) != value}
    if other and not trust.is_trusted(trust.setting("base", [component.name, component.options])):
        words = ", ".join(f"`{key}={value}`" for key, value in other.items())
        raise ModelError(
            f"the adapters in `{folder}` ask for model `{component.name}` with {words}, which you "
            f"never trained with: remove these options from `{FTR_JSON}`, or train with them once."
        )


def set_pad_token(tokenizer: PreTrainedTokenizerBase, rows: int | None = None) -> None:
    """Give a tokenizer without a pad token (GPT-2) its end-of-text token for it; masks tell the two
    apart.

    A pad token that was added to the tokenizer but has no embedding, for the model has `rows` of
    them, is none.
    """
    for name in ("pad_token", "eos_token", "unk_token", "sep_token"):
        token, number = getattr(tokenizer, name), getattr(tokenizer, f"{name}_id")
        if token is not None and (rows is None or number < rows):
            if name != "pad_token":
                tokenizer.pad_token = token
            return
    raise ModelError(
        "the tokenizer has no pad, end-of-text or unknown token to pad with: set `pad_token` in "
        "its files."
    )


def _set_all(
    key: str, settings: PretrainedConfig, names: tuple[str, ...], value: float | None
) -> None:
    if value is None:
        return
    # A config has every key of its file, also those that no model of its kind reads: EuroBERT's
    # `hidden_dropout`.
    try:
        plain = type(settings)()
    except Exception:  # the class of a config that comes with its code may want anything
        plain = settings
    known = [name for name in names if hasattr(settings, name) and hasattr(plain, name)]
    if not known:
        raise ModelError(
            f"`{key}`: a `{settings.model_type}` model has none of `{'`, `'.join(names)}`. "
            "Leave the key out."
        )
    for name in known:
        setattr(settings, name, value)
