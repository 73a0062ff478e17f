"""The Python that loads an exported model, for its card."""

from omniopd.export.selection import Selection

_IMPORTS = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
"""
_IMPORTS_OF_ADAPTER = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
"""
_LOADED = """\
model = {model_class}.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
"""
_CHAT = """\
messages = [{{"role": "user", "content": "{prompt}"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{settings}
)
"""
_PLAIN = """\
inputs = tokenizer("{prompt}", return_tensors="pt")
"""
_ANSWERED = """\
output = model.generate(**inputs, max_new_tokens={max_new_tokens})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
PROMPT = "2+2="


def usage(chosen: Selection) -> str:
    """Code that loads the model and answers a prompt, with the chat template if there is one."""
    config, tokenizer = chosen.run.config, chosen.run.models.chat.tokenizer
    model_class = "AutoPeftModelForCausalLM" if chosen.is_adapter else "AutoModelForCausalLM"
    settings = "".join(f", {name}={value!r}" for name, value in config.models.chat_template_kwargs.items())
    asked = (_CHAT if tokenizer.chat_template else _PLAIN).format(prompt=PROMPT, settings=settings)
    loaded = _LOADED.format(model_class=model_class, name=chosen.title)
    answered = _ANSWERED.format(max_new_tokens=config.rollout.max_new_tokens)
    return "\n".join((_IMPORTS_OF_ADAPTER if chosen.is_adapter else _IMPORTS, loaded, asked + answered))
