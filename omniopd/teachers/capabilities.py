"""What an API supports according to litellm's tables; a probe tests the rest."""

from dataclasses import dataclass

from omniopd.errors import ConfigError
from omniopd.teachers.calls import litellm
from omniopd.teachers.prices import Prices
from omniopd.teachers.ways import Prefill, Way


@dataclass(frozen=True)
class Capabilities:
    """The ways to ask, best first, and the settings that an API accepts.

    >>> Capabilities(("prefill", "instruct"), samples_per_call=1, takes_seed=False, strips=True).ways[0]
    'prefill'
    """

    ways: tuple[Way, ...]
    samples_per_call: int
    takes_seed: bool
    takes_temperature: bool = True
    prefill: Prefill = "turn"
    strips: bool = False  # it refuses a last turn that ends in white space
    marks_cache: bool = False  # it caches the parts of a prompt that are marked
    caches_from: int | None = 0  # tokens of the shortest prefix that its cache keeps; None: it has no cache


# Vendors with a flag to continue the last turn; with others, a plain last turn is tried.
FLAGGED = ("deepseek", "mistral")
SERVED = ("openai", "hosted_vllm")  # with an address of the user's own: vLLM and its like
ANTHROPIC = ("anthropic", "bedrock", "vertex_ai")
MAX_SAMPLES = 16
MIN_CACHED_TOKENS = 1024  # the shortest prefix that most vendors cache


def names_an_api(model: str) -> bool:
    """Whether the name begins with a vendor that litellm knows, as in anthropic/claude-haiku-4-5."""
    vendor, slash, _ = model.partition("/")
    return bool(slash) and vendor in {str(getattr(known, "value", known)) for known in litellm.provider_list}


def tabled(model: str, base_url: str | None) -> Capabilities:
    """The capabilities of a model by litellm's tables, at a vendor or at a server of the user's own.

    Raises:
        ConfigError: they do not know the vendor.
    """
    try:
        name, provider, _, _ = litellm.get_llm_provider(model)
    except litellm.exceptions.BadRequestError as error:
        raise ConfigError(
            f"teacher.model: {model!r} names no vendor; write vendor/model as litellm does, such as "
            "anthropic/claude-haiku-4-5, or hosted_vllm/NAME with a base_url"
        ) from error
    accepted = litellm.get_supported_openai_params(name, provider) or []
    info = litellm.model_cost.get(model) or litellm.model_cost.get(name) or {}
    is_claude = provider in ANTHROPIC and "claude" in name
    is_served = provider in SERVED and base_url is not None
    caches_from = None
    if is_served:
        caches_from = 0
    elif info.get("supports_prompt_caching"):
        caches_from = int(info.get("prompt_cache_min_tokens", MIN_CACHED_TOKENS))
    return Capabilities(
        ways=_ways(provider, info.get("mode"), info.get("supports_assistant_prefill"), is_served=is_served),
        samples_per_call=MAX_SAMPLES if "n" in accepted else 1,
        takes_seed="seed" in accepted,
        takes_temperature="temperature" in accepted,
        prefill="flag" if provider in FLAGGED else "setting" if is_served else "turn",
        strips=is_claude,
        marks_cache=is_claude,
        caches_from=caches_from,
    )


def _ways(provider: str, mode: str | None, prefills: bool | None, *, is_served: bool) -> tuple[Way, ...]:
    if provider == "text-completion-openai" or mode == "completion":
        return ("completion",)
    if is_served:
        return ("prefill", "completion", "instruct")
    if provider == "openai" or prefills is False:
        return ("instruct",)
    return ("prefill", "instruct")


def tabled_prices(model: str) -> Prices | None:
    """The prices of a model by litellm's table; None where it has none."""
    info = litellm.model_cost.get(model) or litellm.model_cost.get(model.partition("/")[2])
    if not info or "input_cost_per_token" not in info:
        return None
    price = info["input_cost_per_token"]
    return Prices(
        input=price,
        cached_input=info.get("cache_read_input_token_cost", price),
        cache_write=info.get("cache_creation_input_token_cost", price),
        output=info.get("output_cost_per_token", 0.0),
    )


def token_counter(model: str, text: str) -> int:
    """Tokens of a text by litellm's tokenizer for that model, which for many vendors is an approximation."""
    return litellm.token_counter(model=model, text=text)
