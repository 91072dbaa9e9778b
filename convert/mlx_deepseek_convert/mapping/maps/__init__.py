"""Weight maps: for each architecture a table, which tensors of a release become which parameters.

`NAME.txt` is the map of architecture NAME; a new architecture is a new file. One rule a line:

    model.norm.weight                              stays as it is
    aligner.layers.0.bias -> projector.bias        has another name here
    kv_b_proj.weight -> embed_q.weight, unembed_out.weight  split_heads    goes through an operation
    rotary_emb.inv_freq -> nothing                 is left out: no model computes with it
    include llama  language_model. -> language.    another table's rules, with prefixes before names

`? ` before a rule: checkpoints without such a tensor exist (or config.json decides). Every other
rule must find a tensor. Names are written in full, with `{layer}` for a decoder layer, `{mtp}` for
a layer past num_hidden_layers, `{expert}` for all experts of a layer, in order, `{block}` for any
other number, and `{part}` for a second one; a number stands for itself. Tables need no conditions:
that the targets are exactly the model's parameters is checked for every checkpoint (validate.py).
Lines that begin with # are comments.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.resources import files

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models import architecture, language_config
from mlx_deepseek_convert.mapping.ops import (
    ChannelsLast,
    Copy,
    Drop,
    Groups,
    Matrix,
    Op,
    SplitHeads,
    Stack,
)
from mlx_deepseek_convert.mapping.rules import Rule

# By the name in a table; what it takes from the (language model's) config, which may lack it.
OPERATIONS: Mapping[str, Callable[[Json], Op]] = {
    "copy": lambda config: Copy(),
    "stack": lambda config: Stack(),
    "groups": lambda config: Groups(config["o_lora_rank"]),
    "channels_last": lambda config: ChannelsLast(),
    "matrix": lambda config: Matrix(),
    "split_heads": lambda config: SplitHeads(config["qk_nope_head_dim"], config["v_head_dim"]),
}
HEAD = "lm_head.weight"


def rules_for(config: Json) -> tuple[Rule, ...]:
    """The weight map of a config's architecture.

    Raises:
        ConfigError: this version does not know the architecture.
    """
    language = language_config(config)
    rules = dict.fromkeys(read_table(architecture(config), language))  # includes may overlap
    if language.get("tie_word_embeddings"):  # the head is a copy of the embedding
        return tuple(without(rule) if rule.source.endswith(HEAD) else rule for rule in rules)
    return tuple(rules)


def read_table(name: str, config: Json) -> Iterator[Rule]:
    """The rules of the table `name`; `config` has the sizes that operations take."""
    text = (files(__name__) / f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        rule, optional = line.removeprefix("? "), line.startswith("? ")
        source, arrow, rest = (part.strip() for part in rule.partition("->"))
        if source.startswith("include "):
            _, table, *prefix = source.split()
            for found in read_table(table, config):
                yield prefixed(found, "".join(prefix), rest, optional or found.optional)
        elif source and not source.startswith("#"):
            source, _, operation = source.partition("  ")
            targets, _, own = rest.partition("  ")
            operation = (operation or own).strip() or "copy"
            names = tuple(targets.split(", ")) if arrow else (source,)
            found = Rule(source, names, OPERATIONS[operation](config), optional)
            yield without(found) if targets == "nothing" else found


def without(rule: Rule) -> Rule:
    """A rule that leaves its tensors out, where there are any."""
    return replace(rule, targets=(), op=Drop(), optional=True)


def prefixed(rule: Rule, source: str, target: str, optional: bool) -> Rule:
    """A rule for the same tensors with prefixes before the source's names and the targets'."""
    targets = tuple(target + name for name in rule.targets)
    return replace(rule, source=source + rule.source, targets=targets, optional=optional)
