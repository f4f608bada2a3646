"""Make a small GPT-2 with random weights and a byte-level vocabulary of its own: for
`gpt2-imdb.yaml` where no hub is to be had.

python examples/recipes/small_gpt2.py IMDb_reviews.csv small-gpt2 --column review
ftr run config=examples/recipes/gpt2-imdb.yaml dataset=IMDb_reviews.csv model=small-gpt2
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast, set_seed

END = "<|endoftext|>"


def main() -> None:
    """Learn the vocabulary, draw the weights and save both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", type=Path, help="CSV file (also .gz) with a column of texts")
    parser.add_argument("folder", type=Path, help="folder to save to")
    parser.add_argument("--column", default="review")
    parser.add_argument(
        "--rows", type=int, default=10_000, help="texts the vocabulary is learned from"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    args = parser.parse_args()

    texts = pd.read_csv(args.texts, usecols=[args.column], nrows=args.rows)[args.column].astype(str)
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(texts, vocab_size=8000, special_tokens=[END], show_progress=False)
    args.folder.mkdir(parents=True, exist_ok=True)
    learned.save_model(str(args.folder))
    tokenizer = GPT2TokenizerFast.from_pretrained(args.folder, model_max_length=512)
    tokenizer.save_pretrained(args.folder)

    set_seed(0)
    ends = tokenizer.convert_tokens_to_ids(END)
    size = {
        "n_layer": args.layers,
        "n_embd": args.width,
        "n_head": args.width // 32,
        "n_positions": 512,
    }
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), bos_token_id=ends, eos_token_id=ends, **size)
    )
    model.save_pretrained(args.folder)
    print(
        f"{args.folder}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, "
        f"{len(tokenizer)} tokens"
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
