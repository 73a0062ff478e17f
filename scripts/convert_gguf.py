"""Write the model in a GGUF file as a directory for transformers: python scripts/convert_gguf.py FILE DIRECTORY.

Needs the packages gguf and accelerate, the extra `gguf` of this project.
"""

import sys
from pathlib import Path
from typing import cast

import torch
import transformers
from gguf import GGUFReader  # pyright: ignore[reportMissingImports]
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

# The pre-tokenizers of GGUF files, for which transformers takes GPT-2's. With that, SmolLM2's loss on a text of
# numbered lists was 0.82 nats a byte, and 0.74 with this: "\n\n1" was split into other tokens than in its training.
PRE_TOKENIZERS = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


def convert(file: Path, directory: Path) -> None:
    """Save model and tokenizer of a GGUF file; weights in bfloat16, the dtype that SmolLM2 was published in."""
    dequantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = dequantised.config
    del config.quantization_config  # its weights are numbers now
    model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))
    model.load_state_dict(dequantised.state_dict())
    model.generation_config = dequantised.generation_config
    model.save_pretrained(directory)
    tokenizer = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name))
    kind = GGUFReader(file).fields["tokenizer.ggml.pre"].contents()
    if kind not in PRE_TOKENIZERS:
        sys.exit(f"{file}: its pre-tokenizer {kind!r} is unknown; add it to PRE_TOKENIZERS")
    tokenizer.backend_tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]()
    tokenizer.save_pretrained(directory)


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
